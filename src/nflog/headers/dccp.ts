import { readPorts } from './udp.ts';

/** DCCP (RFC 4340). The kernel's LOG prints its number only. */
export const dccp = { read: readPorts };
