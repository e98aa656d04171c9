import { checkObject } from '../codec/index.ts';
import { NetlinkError } from '../errors.ts';
import { RTM_GETLINK } from '../linux/rtnetlink.ts';
import type { Call, Exchange, Operation } from '../netlink/index.ts';
import { checkDevice, isLongName, missing } from './device.ts';
import { LINK_HEADER, LINKS, type LinkAttributes, type LinkHeader } from './links/link.ts';
import { readName } from './links/message.ts';
import { request } from './request.ts';

/** The options of a list. */
export interface ListOptions {
  /** Ends the call, which then throws the signal's reason. */
  signal?: AbortSignal;
}

/** Limits a list to one device. */
export interface DeviceFilter extends ListOptions {
  /** Only the objects of this device. Default: all devices. */
  device?: string;
}

/** Returns the name of a device, or undefined if the device no longer exists. */
export type NameOf = (index: number) => string | undefined;

/** A container has two or three devices. For so few, one request for each is faster than a list of all. */
const FEW_DEVICES = 4;

/** Finds the names and indexes of a namespace's devices. Callers use names, messages use indexes. */
export class Devices {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * Finds the index of a device.
   * @param field the field of `subject` that has the name, for errors
   */
  *indexOf(name: string, field: string, subject: unknown): Operation<number> {
    const call = getLink(LINK_HEADER, nameAttribute(name), name, [field], subject);
    const [index] = yield* this.#exchange.get(call, ({ source, payload, end }) => readName(source, payload, end));
    return index;
  }

  /** Finds the index of the device in a filter; 0 if the filter names none. */
  *indexIn(filter: DeviceFilter): Operation<number> {
    checkObject(filter, [], ['device', 'signal']);
    if (filter.device === undefined) return 0;
    return yield* this.indexOf(checkDevice(filter.device, ['device']), 'device', filter);
  }

  /** Finds the name of one device, or undefined if the device no longer exists. */
  *nameOf(index: number): Operation<string | undefined> {
    const call = getLink({ ...LINK_HEADER, ifi_index: index }, {}, `${index}`, [], index);
    try {
      const [, name] = yield* this.#exchange.get(call, ({ source, payload, end }) => readName(source, payload, end));
      return name;
    } catch (error) {
      if (error instanceof NetlinkError && error.code === 'ENODEV') return undefined;
      throw error;
    }
  }

  /** Finds the names of these devices: one request for each if there are few, else a list of all. */
  *names(indexes: readonly number[]): Operation<NameOf> {
    const wanted = new Set(indexes);
    if (wanted.size > FEW_DEVICES) {
      const call = request(LINKS.messages, { syscall: 'RTM_GETLINK', type: RTM_GETLINK, header: LINK_HEADER });
      const all = yield* this.#exchange.dump(call, ({ source, payload, end }) => readName(source, payload, end));
      const names = new Map(all);
      return index => names.get(index);
    }
    const names = new Map<number, string | undefined>();
    for (const index of wanted) names.set(index, yield* this.nameOf(index));
    return index => names.get(index);
  }
}

/** Names a device in a request. A name of more than 15 bytes can only be an alternative name (Linux 5.5). */
export const nameAttribute = (name: string): Partial<LinkAttributes> =>
  isLongName(name) ? { altName: name } : { name };

/** The request for one link, by index or by name. */
export function getLink(
  header: LinkHeader,
  value: Partial<LinkAttributes>,
  name: string,
  path: readonly string[],
  subject: unknown,
): Call {
  return request(LINKS.messages, {
    syscall: 'RTM_GETLINK',
    type: RTM_GETLINK,
    header,
    value,
    subject,
    rename: () => path,
    refusals: { hints: { ENODEV: missing(name) }, blame: { ENODEV: path } },
  });
}

/** Maps the items, and leaves out those for which `map` returns undefined. */
export function present<T, R>(items: readonly T[], map: (item: T) => R | undefined): R[] {
  return items.flatMap(item => map(item) ?? []);
}
