import { NO_CONTEXT } from '../../codec/index.ts';
import {
  commandTable,
  infoTable,
  type WireCommand,
  type WireDestination,
  type WireService,
} from '../../ip_vs/attributes.ts';
import * as C from '../../linux/ip_vs.ts';
import { type EncodedRequests, type Exchange, GenericFamily, genlmsghdr, type Operation } from '../../netlink/index.ts';
import type { Backend, IpvsCommand, IpvsInfo } from './backend.ts';
import { listedDestination, listedService } from './dump-reader.ts';
import { describe, GET_SERVICES, getDestinations } from './requests.ts';

/** The version of the generic netlink family, which the kernel does not check. */
export const VERSION = 1;
const MODULE_MISSING =
  'the kernel has no IPVS: load the module on the host (modprobe ip_vs), or install a kernel with CONFIG_IP_VS';
/**
 * IPVS over generic netlink, with everything that the kernel has. It needs CAP_NET_ADMIN in the initial user namespace, also for reading
 * (net/netfilter/ipvs/ip_vs_ctl.c).
 */
export class NetlinkBackend extends GenericFamily<WireCommand> implements Backend {
  readonly via = 'netlink';
  readonly #info: GenericFamily<{ version?: number; connectionTableSize?: number }>;

  constructor(exchange: Exchange) {
    const family = { name: 'IPVS', version: VERSION, missing: MODULE_MISSING };
    super(exchange, { ...family, table: commandTable });
    this.#info = new GenericFamily(exchange, { ...family, table: infoTable });
  }

  services(withStats: boolean): Operation<WireService[]> {
    return this.dumpMessages(GET_SERVICES, message => listedService(message, withStats));
  }

  destinations(service: WireService, withStats: boolean): Operation<WireDestination[]> {
    return this.dumpMessages(getDestinations(service), message => listedDestination(message, withStats));
  }

  *info(): Operation<IpvsInfo> {
    const command = { ...describe('IPVS_CMD_GET_INFO', C.IPVS_CMD_GET_INFO, undefined, {}), value: {} };
    return yield* this.#info.get(command, ({ version, connectionTableSize }) => readInfo(version, connectionTableSize));
  }
}

export function readInfo(version = 0, connectionTableSize = 0): IpvsInfo {
  return { version: `${version >> 16}.${(version >> 8) & 0xff}.${version & 0xff}`, connectionTableSize };
}

/** Adds a request to the list. Its message type, which is the number of the family, is filled in when the list is sent. */
export function encode(messages: EncodedRequests, { command, value }: Pick<IpvsCommand, 'command' | 'value'>): void {
  messages.add(0, 0, writer => {
    genlmsghdr.write(writer, { cmd: command, version: VERSION });
    commandTable.write(writer, value, NO_CONTEXT);
  });
}
