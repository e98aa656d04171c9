import { nextHopSuite } from '../support/rtnetlink-nexthops.ts';

nextHopSuite();
