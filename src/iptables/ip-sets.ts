import { HOST_IS_LITTLE_ENDIAN } from '../codec/index.ts';
import * as C from '../linux/ip_set.ts';
import { NFPROTO_IPV4, NFPROTO_IPV6, NFPROTO_UNSPEC } from '../linux/netfilter.ts';
import { OptionSocket } from '../netlink/option-socket.ts';
import type { NetNs } from '../netns/netns.ts';
import { IptablesError } from './error.ts';
import type { IptablesFamily } from './model.ts';

/* The sets of ipset. Rules name them by their numbers, which an option of sockets tells. */

/** SOL_IP */
const LEVEL = 0;
const NUMBERS: Readonly<Record<IptablesFamily, number>> = { ipv4: NFPROTO_IPV4, ipv6: NFPROTO_IPV6 };

/** The sets of a namespace, as one operation finds them: each is asked for once. */
export class IpSets {
  readonly #netns: () => NetNs;
  readonly #indexes = new Map<string, number>();
  readonly #names = new Map<number, string | undefined>();

  /** `netns` opens the namespace. */
  constructor(netns: () => NetNs) {
    this.#netns = netns;
  }

  /**
   * The number of a set.
   * @throws IptablesError there is no such set, or its elements are of the other family; or the kernel has no sets
   */
  index(name: string, family: IptablesFamily): number {
    const known = this.#indexes.get(name);
    if (known !== undefined) return known;
    // struct ip_set_req_get_set_family
    const answer = this.#ask(C.IP_SET_OP_GET_FNAME, 12 + C.IPSET_MAXNAMELEN, request =>
      Buffer.from(request.buffer).write(name, 12, C.IPSET_MAXNAMELEN - 1),
    );
    if (answer === undefined)
      throw new IptablesError('Kernel module xt_set is not loaded in.\n', { exitCode: 1, argument: name });
    const index = answer.getUint16(12, HOST_IS_LITTLE_ENDIAN);
    if (index === C.IPSET_INVALID_ID) throw new IptablesError(`Set ${name} doesn't exist.\n`, { argument: name });
    const of = answer.getUint32(8, HOST_IS_LITTLE_ENDIAN);
    if (of !== NFPROTO_UNSPEC && of !== NUMBERS[family]) {
      const version = of === NFPROTO_IPV4 ? 'IPv4' : 'IPv6';
      throw new IptablesError(`The protocol family of set ${name} is ${version}, which is not applicable.\n`, {
        argument: name,
      });
    }
    this.#indexes.set(name, index);
    return index;
  }

  /** The name of a set; undefined if there is none with this number. */
  name(index: number): string | undefined {
    if (this.#names.has(index)) return this.#names.get(index);
    // struct ip_set_req_get_set
    const answer = this.#ask(C.IP_SET_OP_GET_BYINDEX, 8 + C.IPSET_MAXNAMELEN, request =>
      request.setUint16(8, index, HOST_IS_LITTLE_ENDIAN),
    );
    const text = answer === undefined ? '' : Buffer.from(answer.buffer).toString('utf8', 8).replace(/\0.*$/s, '');
    const name = text === '' ? undefined : text;
    this.#names.set(index, name);
    return name;
  }

  /** The answer to a question; undefined if the kernel has no sets, or does not let this process ask. */
  #ask(operation: number, size: number, fill: (request: DataView) => void): DataView | undefined {
    const netns = this.#netns();
    let socket: OptionSocket | undefined;
    try {
      socket = new OptionSocket(netns);
      const version = new Uint32Array([C.IP_SET_OP_VERSION, 0]);
      if (socket.get(LEVEL, C.SO_IP_SET, new Uint8Array(version.buffer)) < 0) return undefined;
      const request = new DataView(new ArrayBuffer(size));
      request.setUint32(0, operation, HOST_IS_LITTLE_ENDIAN);
      request.setUint32(4, version[1]!, HOST_IS_LITTLE_ENDIAN);
      fill(request);
      return socket.get(LEVEL, C.SO_IP_SET, new Uint8Array(request.buffer)) < 0 ? undefined : request;
    } finally {
      void socket?.close();
      netns.close();
    }
  }
}
