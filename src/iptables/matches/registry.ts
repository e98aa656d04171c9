import type { ExtensionRow } from '../extension.ts';
import { CONNECTION_MATCHES, STATE_MATCH } from './connection.ts';
import { HOST_MATCHES } from './host.ts';
import { ICMP_MATCHES } from './icmp.ts';
import { IPV6_MATCHES } from './ipv6-headers.ts';
import { PACKET_MATCHES } from './packet.ts';
import { PORT_MATCHES } from './ports.ts';
import { RATE_MATCHES } from './rates.ts';

/** The matches. */
export const matchRows = (): readonly ExtensionRow[] => [
  ...PORT_MATCHES,
  ...ICMP_MATCHES,
  ...IPV6_MATCHES,
  ...PACKET_MATCHES,
  ...CONNECTION_MATCHES,
  ...RATE_MATCHES,
  ...HOST_MATCHES,
];

/** The matches that have another word than their name, and that one word only. */
export const WORDS: Readonly<Record<string, ExtensionRow>> = { state: STATE_MATCH };
