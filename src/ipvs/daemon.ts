import { checkOneOf } from '../codec/index.ts';
import type { Path } from '../errors.ts';
import { readDaemon, SYNC_STATES, type SyncDaemon, type SyncState, writeDaemon } from '../ip_vs/sync-daemon.ts';
import * as C from '../linux/ip_vs.ts';
import type { Operation } from '../netlink/index.ts';
import type { Backend } from './backends/backend.ts';
import { describe, generalHint } from './backends/requests.ts';

/** Starts a sync daemon. With 'anything' its values are not checked: it has run before. */
export function* startSync(backend: Backend, daemon: SyncDaemon, kept?: 'anything'): Operation<void> {
  yield* backend.request({
    syscall: 'IPVS_CMD_NEW_DAEMON',
    command: C.IPVS_CMD_NEW_DAEMON,
    subject: daemon,
    value: { daemon: writeDaemon(daemon, kept) },
    hint: code => START_HINTS[code] ?? generalHint(code),
    blame: code => START_BLAME[code],
  });
}

const START_HINTS: Readonly<Record<string, string>> = {
  ENODEV: 'this namespace has no such device',
  EEXIST: 'a daemon of that state runs already: stopSync ends it',
  EINVAL: 'a service has a destination of the other family (through a tunnel), which cannot be synchronised',
  EADDRINUSE: 'another socket of this namespace has that port',
  EADDRNOTAVAIL: "the device has no address of the group's family, or is down",
};
const START_BLAME: Readonly<Record<string, Path>> = {
  ENODEV: ['interface'],
  EEXIST: ['state'],
  EADDRINUSE: ['port'],
  EADDRNOTAVAIL: ['interface'],
};

/** Stops a sync daemon. */
export function* stopSync(backend: Backend, state: SyncState): Operation<void> {
  checkOneOf(state, ['state'], Object.keys(SYNC_STATES) as SyncState[]);
  try {
    yield* backend.request({
      syscall: 'IPVS_CMD_DEL_DAEMON',
      command: C.IPVS_CMD_DEL_DAEMON,
      subject: state,
      value: { daemon: { state: SYNC_STATES[state] } },
      hint: code => (code === 'ESRCH' ? `no ${state} daemon runs in this namespace` : generalHint(code)),
    });
  } catch (error) {
    const { code } = error as { code?: string };
    // If the daemon's thread has not run yet, kthread_stop() returns EINTR, and netlink does not acknowledge the request. The daemon is gone nevertheless.
    if (code !== 'ERR_NO_REPLY' && code !== 'EINTR') throw error;
    const running = yield* syncDaemons(backend);
    if (running.some(daemon => daemon.state === state)) throw error;
  }
}

/** The sync daemons that run, the master first. */
export function* syncDaemons(backend: Backend): Operation<SyncDaemon[]> {
  const command = describe('IPVS_CMD_GET_DAEMON', C.IPVS_CMD_GET_DAEMON, undefined, {});
  return yield* backend.dump(command, ({ daemon }) => daemon && readDaemon(daemon));
}
