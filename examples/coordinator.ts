/** A coordinator inside a program of one's own; `phasor coordinator` is the ready-made one. */
import { connect, createLogger, startCoordinator } from '../src/index.ts';
import { runService } from './process.ts';

await runService('coordinator', async (url) => {
  const logger = createLogger({ level: 'error' });
  const connection = await connect({ url, name: 'coordinator', logger });
  const coordinator = await startCoordinator(connection.world, {
    onFailure: (error) => {
      logger.error({ err: error }, 'the coordinator had to stop');
      process.exit(error.exitCode);
    },
  });
  await coordinator.ready;
  return async () => {
    await coordinator.close();
    await connection.close();
  };
});
