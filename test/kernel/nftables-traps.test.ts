import { traps } from '../support/nftables-traps.ts';

traps();
