import { defineConfig } from 'vitest/config';
import { PATIENCE_MILLISECONDS } from './test/support/wait.ts';

const alias = [
  { find: /^netsteer$/, replacement: new URL('./src/index.ts', import.meta.url).pathname },
  { find: /^netsteer\/(.+)$/, replacement: `${new URL('./src/', import.meta.url).pathname}$1/index.ts` },
];

const GUEST = ['test/guest/**/*.test.ts'];
/** They put something else in the place of modules, or of the C library. */
const APART = ['test/guest/faults.test.ts', 'test/guest/ipvs-lost.test.ts'];
/**
 * Three processes that win and lose an address, with a real etcd. It has failed once in a run of all tests, after three seconds, for a reason that is not
 * known, and passes otherwise. It runs in test:long until it is.
 */
const LONG = ['test/kernel/cluster-processes.test.ts'];
/** For a machine that is busy with other things: nothing waits for them when all is well. Behind the patience of `until`, so that it is that which tells. */
const LIMIT = 4 * PATIENCE_MILLISECONDS;
const TIMEOUTS = { testTimeout: LIMIT, hookTimeout: LIMIT, expect: { poll: { timeout: PATIENCE_MILLISECONDS } } };

/*
 * unit    pure: any machine, any user
 * kernel  real kernels, each test in namespaces of its own; on the host as root, and in the guests
 * guest   what needs IPVS: only inside the guests (test/vm boots them and runs this project in them); guest-apart: in a process for each file
 */
const inGuest = process.env.NETSTEER_GUEST !== undefined;
const isLong = process.env.NETSTEER_LONG === '1';

export default defineConfig({
  resolve: { alias },
  test: {
    // setns moves a thread; a process for each file keeps one file's namespaces from another's.
    pool: 'forks',
    // In a guest one file at a time: one of them unloads IPVS.
    fileParallelism: !inGuest,
    projects: [
      {
        resolve: { alias },
        test: { name: 'unit', include: ['test/unit/**/*.test.ts'], ...TIMEOUTS },
      },
      {
        resolve: { alias },
        test: { name: 'kernel', include: ['test/kernel/**/*.test.ts'], exclude: isLong ? [] : LONG, ...TIMEOUTS },
      },
      {
        resolve: { alias },
        // All files in one process: loading the library takes a guest more than ten seconds.
        test: { name: 'guest', include: GUEST, exclude: APART, isolate: false, ...TIMEOUTS },
      },
      { resolve: { alias }, test: { name: 'guest-apart', include: APART, ...TIMEOUTS } },
    ],
  },
});
