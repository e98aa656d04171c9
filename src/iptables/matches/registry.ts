import type { ExtensionRow } from '../extension.ts';
import { BYTE_MATCHES } from './bytes.ts';
import { CONNECTION_MATCHES, STATE_MATCH } from './connection.ts';
import { DEVICE_MATCHES } from './devices.ts';
import { HASHLIMIT_MATCHES } from './hashlimit.ts';
import { HOST_MATCHES } from './host.ts';
import { ICMP_MATCHES } from './icmp.ts';
import { IPSEC_MATCHES } from './ipsec.ts';
import { IPV6_MATCHES } from './ipv6-headers.ts';
import { IPVS_MATCHES } from './ipvs.ts';
import { PACKET_MATCHES } from './packet.ts';
import { POLICY_MATCHES } from './policy.ts';
import { PORT_MATCHES } from './ports.ts';
import { RATEEST_MATCHES } from './rateest.ts';
import { RATE_MATCHES } from './rates.ts';
import { SCTP_DCCP_MATCHES } from './sctp-dccp.ts';
import { SET_MATCHES } from './set.ts';
import { TIME_MATCHES } from './time.ts';
import { TRAFFIC_CLASS_MATCHES } from './traffic-class.ts';

/** The matches. */
export const matchRows = (): readonly ExtensionRow[] => [
  ...PORT_MATCHES,
  ...SCTP_DCCP_MATCHES,
  ...IPSEC_MATCHES,
  ...ICMP_MATCHES,
  ...IPV6_MATCHES,
  ...PACKET_MATCHES,
  ...TRAFFIC_CLASS_MATCHES,
  ...BYTE_MATCHES,
  ...CONNECTION_MATCHES,
  ...RATE_MATCHES,
  ...HASHLIMIT_MATCHES,
  ...TIME_MATCHES,
  ...HOST_MATCHES,
  ...SET_MATCHES,
  ...DEVICE_MATCHES,
  ...IPVS_MATCHES,
  ...POLICY_MATCHES,
  ...RATEEST_MATCHES,
];

/** The matches that have another word than their name, and that one word only. */
export const WORDS: Readonly<Record<string, ExtensionRow>> = { state: STATE_MATCH };
