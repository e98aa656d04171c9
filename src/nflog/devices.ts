import { S32_NE, struct, U8, U16_NE, U32_NE } from '../codec/index.ts';
import { NetlinkError, StateError } from '../errors.ts';
import { RTM_GETLINK } from '../linux/rtnetlink.ts';
import { Exchange, type Operation, type Transport } from '../netlink/index.ts';
import { runNow } from '../netlink/operation.ts';
import { ofThread } from '../thread.ts';

/** A device keeps its type, but another device can get its index later. */
const TYPE_TRUSTED_MICROSECONDS = 1_000_000;

/** A container can create any number of devices, each with a new index. */
const MAX_KNOWN = 4096;

/** `struct ifinfomsg` (include/uapi/linux/rtnetlink.h). */
const ifinfomsg = struct('ifinfomsg', {
  ifi_family: [1, U8],
  _ifi_pad: [1, U8],
  ifi_type: [2, U16_NE],
  ifi_index: [4, S32_NE],
  ifi_flags: [4, U32_NE],
  ifi_change: [4, U32_NE],
});

/**
 * The difference between performance.now() and the time of day, which is finer than Date.now(). It is corrected when
 * the clock has been set.
 */
const clock = ofThread('nflog.clock', { origin: 0 });

/** Microseconds since 1970 of a `performance.now()` of just now. */
export function wallMicroseconds(now: number): number {
  // Reading the property makes Node load modules: not while this one is imported.
  if (clock.origin === 0) clock.origin = performance.timeOrigin;
  const ahead = clock.origin + now - Date.now();
  if (ahead < -1 || ahead > 2) clock.origin = Date.now() + 0.5 - now;
  return Math.floor((clock.origin + now) * 1000);
}

/** How packets learn the names and types of their devices. */
export interface DeviceNames {
  /** The device's name at `atMicroseconds` or later; undefined if it has none any more. */
  nameOf(index: number, atMicroseconds: number): string | undefined;
  /** ARPHRD_* of its link layer. */
  typeOf?(index: number, atMicroseconds: number): number | undefined;
}

/** An rtnetlink socket. */
export interface DeviceSocket extends Transport {
  deviceName(index: number): string | undefined;
}

/**
 * The devices of one namespace. The kernel is asked for each by itself. Names change (a container's eth0 was a veth
 * of another name a moment ago), so a name is asked again for a packet that was received after the last request: once
 * for all packets that were read together. An ioctl takes 1 to 2 µs. A link message would take 6, and wait for the
 * lock of everybody who changes a device in any namespace.
 */
export class Devices implements DeviceNames {
  readonly #socket: DeviceSocket;
  readonly #exchange: Exchange;
  readonly #names = new Map<number, { name: string | undefined; asOf: number }>();
  readonly #types = new Map<number, { type: number | undefined; asOf: number }>();

  constructor(socket: DeviceSocket) {
    this.#socket = socket;
    this.#exchange = new Exchange(socket, 'nflog');
    this.#exchange.operation = 'nflog.device';
  }

  nameOf(index: number, atMicroseconds: number): string | undefined {
    const known = this.#names.get(index);
    // If the log is closed or the device is removed, its last name is the best answer.
    if (known !== undefined && (known.asOf >= atMicroseconds || this.#socket.closed)) return known.name;
    const asOf = wallMicroseconds(performance.now());
    const name = this.#socket.closed ? undefined : (this.#socket.deviceName(index) ?? known?.name);
    remember(this.#names, index, { name, asOf });
    return name;
  }

  typeOf(index: number, atMicroseconds: number): number | undefined {
    const known = this.#types.get(index);
    if (known !== undefined && atMicroseconds - known.asOf < TYPE_TRUSTED_MICROSECONDS) return known.type;
    let type = known?.type;
    try {
      type = runNow(this.#ask(index)) ?? type;
    } catch (error) {
      // The device is removed or the log is closed. Neither is a reason to fail for a packet.
      if (!(error instanceof NetlinkError || error instanceof StateError)) throw error;
    }
    remember(this.#types, index, { type, asOf: atMicroseconds });
    return type;
  }

  *#ask(index: number): Operation<number | undefined> {
    const call = {
      type: RTM_GETLINK,
      syscall: 'RTM_GETLINK',
      write: (writer: Parameters<typeof ifinfomsg.write>[0]) =>
        ifinfomsg.write(writer, { ifi_family: 0, ifi_type: 0, ifi_index: index | 0, ifi_flags: 0, ifi_change: 0 }),
    };
    return yield* this.#exchange.get(
      call,
      ({ source, payload, end }) => ifinfomsg.read(source, payload, end)?.ifi_type,
    );
  }

  close(): void {
    void this.#socket.close();
  }
}

function remember<T>(known: Map<number, T>, index: number, value: T): void {
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(index, value);
}
