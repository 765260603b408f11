import { Argument, type Command } from 'commander';

import { asyncApi, jsonSchemas, SCHEMA_NAMES, type SchemaName } from '../../protocol/schemas.ts';
import type { Cli } from '../cli.ts';

interface Choices {
  readonly asyncapi?: boolean;
}

export function addSchemas(program: Command, cli: Cli): void {
  program
    .command('schemas')
    .description('print the JSON Schemas of the envelopes, or the AsyncAPI document')
    .addArgument(new Argument('[name]', 'only this one').choices(SCHEMA_NAMES))
    .option('--asyncapi', 'the AsyncAPI document: subjects, who publishes, who reads')
    .addHelpText(
      'after',
      `
Generated from the schemas that check every message; needs no server.

Examples:
  $ phasor schemas plan
  $ phasor schemas > phasor.schemas.json
  $ phasor schemas --asyncapi > phasor.asyncapi.json`,
    )
    .action(
      cli.action<Choices>(async ({ options, args }) => {
        const [name] = args;
        const all = jsonSchemas();
        const document =
          options.asyncapi === true ? asyncApi() : name === undefined ? all : all[name as SchemaName];
        await cli.out.line(JSON.stringify(document, undefined, 2));
      }),
    );
}
