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
  /** Ends the call; it then throws the signal's reason. */
  signal?: AbortSignal;
}

/** Which device a list is about. */
export interface DeviceFilter extends ListOptions {
  /** Only what belongs to this device; all devices where left out. */
  device?: string;
}

/** The name of a device, or undefined where it has gone. */
export type NameOf = (index: number) => string | undefined;

/** A container has two or three devices: asking for each is quicker than reading all. */
const FEW_DEVICES = 4;

/** Names and indexes of a namespace's devices. Callers give names, messages have indexes. */
export class Devices {
  readonly #exchange: Exchange;

  constructor(exchange: Exchange) {
    this.#exchange = exchange;
  }

  /**
   * The index of a device.
   * @param field the field of `subject` that has the name, for errors
   */
  *indexOf(name: string, field: string, subject: unknown): Operation<number> {
    const call = getLink(LINK_HEADER, nameAttribute(name), name, [field], subject);
    const [index] = yield* this.#exchange.get(call, ({ source, payload, end }) => readName(source, payload, end));
    return index;
  }

  /** The index of the device in a filter; 0 where it has none. */
  *indexIn(filter: DeviceFilter): Operation<number> {
    checkObject(filter, [], ['device', 'signal']);
    if (filter.device === undefined) return 0;
    return yield* this.indexOf(checkDevice(filter.device, ['device']), 'device', filter);
  }

  /** The name of one device, or undefined where it has gone. */
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

  /** The names of these devices. Few are asked for one by one, many all at once. */
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

/** How a request names a device: a name of more than 15 bytes can only be an alternative one (Linux 5.5). */
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

/** What `map` makes of each item, without those of which it makes nothing. */
export function present<T, R>(items: readonly T[], map: (item: T) => R | undefined): R[] {
  return items.flatMap(item => map(item) ?? []);
}
