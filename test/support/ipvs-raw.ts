import { fromHex } from '../../src/codec/index.ts';
import { NetlinkError } from '../../src/errors.ts';
import { commandTable } from '../../src/ip_vs/attributes.ts';
import { NETLINK_GENERIC } from '../../src/linux/netlink.ts';
import { Exchange, GenericFamily, genlmsghdr, NetlinkSocket, type RequestInfo } from '../../src/netlink/index.ts';
import { runNow } from '../../src/netlink/operation.ts';
import type { NetNs } from '../../src/netns/index.ts';

/* What the library refuses to send, written by hand. Payloads are hex, in the byte order of a little-endian host. */

const u16 = (value: number): string =>
  (value & 0xff).toString(16).padStart(2, '0') + (value >> 8).toString(16).padStart(2, '0');
export const u32 = (value: number): string => u16(value & 0xffff) + u16((value >>> 16) & 0xffff);
export const be16 = (value: number): string => value.toString(16).padStart(4, '0');
export { u16 };

/** One attribute with its padding. */
export function attribute(type: number, payload: string): string {
  const length = 4 + payload.length / 2;
  return u16(length) + u16(type) + payload + '00'.repeat((4 - (length % 4)) % 4);
}

export const text = (value: string): string => `${Buffer.from(value).toString('hex')}00`;

/** Attributes by number; undefined leaves one of the defaults out. */
export type Attributes = Readonly<Record<number, string | undefined>>;

export function nest(type: number, attributes: Attributes): string {
  const parts = Object.entries(attributes).map(([each, payload]) =>
    payload === undefined ? '' : attribute(Number(each), payload),
  );
  return attribute(type, parts.join(''));
}

/** A connection to the IPVS of one namespace that checks nothing. */
export class RawIpvs {
  readonly socket: NetlinkSocket;
  readonly exchange: Exchange;
  readonly family: number;

  constructor(netns: NetNs) {
    this.socket = new NetlinkSocket({ netns, protocol: NETLINK_GENERIC });
    this.exchange = new Exchange(this.socket, 'ipvs');
    this.exchange.operation = 'ipvs.raw';
    const family = new GenericFamily(this.exchange, { name: 'IPVS', version: 1, table: commandTable, missing: '' });
    this.family = runNow(family.id());
  }

  /** Sends a command with these attributes. */
  send(
    command: number,
    attributes = '',
    options: { described?: RequestInfo; flags?: number; version?: number } = {},
  ): void {
    const { described, flags = 0, version = 1 } = options;
    runNow(
      this.exchange.request({
        syscall: `command ${command}`,
        ...described,
        type: this.family,
        flags,
        write: writer => {
          genlmsghdr.write(writer, { cmd: command, version });
          writer.raw(fromHex(attributes) ?? new Uint8Array(0));
        },
      }),
    );
  }

  /** As `send`, and gives the error. */
  refused(
    command: number,
    attributes = '',
    options: { described?: RequestInfo; flags?: number; version?: number } = {},
  ) {
    try {
      this.send(command, attributes, options);
    } catch (error) {
      if (error instanceof NetlinkError) return error;
      throw error;
    }
    throw new Error('the kernel did not refuse this');
  }

  /** A dump of something, as the number of its messages. */
  dump(command: number, attributes = ''): number {
    return runNow(
      this.exchange.dump(
        {
          syscall: `command ${command}`,
          type: this.family,
          write: writer => {
            genlmsghdr.write(writer, { cmd: command, version: 1 });
            writer.raw(fromHex(attributes) ?? new Uint8Array(0));
          },
        },
        () => true,
      ),
    ).length;
  }

  close(): Promise<void> {
    return this.socket.close();
  }
}
