import { testKinds } from '../support/rtnetlink-kinds.ts';
import { kernelSuite } from '../support/where.ts';

/* Debian's kernels have all the kinds, which this host may lack. */

kernelSuite('kinds of links, written and read', () => {
  testKinds();
});
