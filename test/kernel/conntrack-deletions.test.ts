import { deletionSuite } from '../support/conntrack-deletions.ts';

deletionSuite();
