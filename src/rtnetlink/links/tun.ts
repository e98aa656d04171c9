import fs from 'node:fs';
import { attribute, attributes, type Infer, named, opt, U8, u32ne } from '../../codec/index.ts';
import { NetlinkError } from '../../errors.ts';
import { ffi } from '../../ffi/index.ts';
import { IFNAMSIZ } from '../../linux/if.ts';
import * as C from '../../linux/if_link.ts';
import * as Tun from '../../linux/if_tun.ts';
import type { NetNs } from '../../netns/netns.ts';
import { BOOLEAN, quote } from '../device.ts';
import { LinkKind, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

/** IFLA_INFO_DATA of a tun or tap device (drivers/net/tun.c; Linux 4.17). */
const TUN = attributes('IFLA_TUN', {
  /** 'tun' has IP packets, 'tap' Ethernet frames. */
  mode: opt(attribute(C.IFLA_TUN_TYPE, named(U8, { tun: Tun.IFF_TUN, tap: Tun.IFF_TAP } as const))),
  /** The user that may open it; anybody with CAP_NET_ADMIN may. */
  owner: opt(u32ne(C.IFLA_TUN_OWNER)),
  /** The group of users that may open it. */
  ownerGroup: opt(u32ne(C.IFLA_TUN_GROUP)),
  /** Packets have a header of flags and protocol (struct tun_pi). Default false. */
  packetInformation: opt(attribute(C.IFLA_TUN_PI, BOOLEAN)),
  /** Packets have a header of offloads (struct virtio_net_hdr). Default false. */
  offloadHeader: opt(attribute(C.IFLA_TUN_VNET_HDR, BOOLEAN)),
  /** It stays when no program has it open: those that are made here do. */
  persistent: opt(attribute(C.IFLA_TUN_PERSIST, BOOLEAN)),
  /** Several programs, or threads, may have it open. Default false. */
  multiQueue: opt(attribute(C.IFLA_TUN_MULTI_QUEUE, BOOLEAN)),
  /** How often it is open, with `multiQueue`. */
  queues: opt(u32ne(C.IFLA_TUN_NUM_QUEUES)),
  disabledQueues: opt(u32ne(C.IFLA_TUN_NUM_DISABLED_QUEUES)),
});
/** What the kernel says of a tun or tap device. */
export type TunDevice = Infer<typeof TUN>;

/** A new tun or tap device: a program has the other end. It is persistent: it stays until it is removed. */
export type NewTun = NewLink & SettingsOf<'tun', TunDevice>;

export const tun = new LinkKind<'tun', NewTun, TunDevice>({
  name: 'tun',
  data: TUN,
  readOnly: ['persistent', 'queues', 'disabledQueues'],
  defaults: { mode: 'tun' },
  fixed: ['mode', 'owner', 'ownerGroup', 'packetInformation', 'offloadHeader', 'multiQueue'],
  madeBy: 'ioctl',
});

/** `struct ifreq` of a 64-bit kernel: the name, 16 bytes, then 16 bits of flags. */
const IFREQ_LENGTH = 40;
const DEVICE = '/dev/net/tun';

/** Makes a persistent device: rtnetlink cannot (drivers/net/tun.c, tun_validate). */
export function makeTun(netns: NetNs, name: string, settings: TunDevice, operation: string, subject: object): void {
  const fail = (error: { errno: number }, syscall: string, hint?: string) =>
    new NetlinkError({
      errno: error.errno,
      syscall,
      operation,
      subject,
      path: [],
      ...(hint !== undefined && { hint }),
    });
  let fd: number;
  try {
    // It belongs to the namespace that it is opened in.
    fd = netns.run(() => fs.openSync(DEVICE, 'r+'));
  } catch (error) {
    const { code, errno } = error as NodeJS.ErrnoException;
    if (errno === undefined || code === undefined) throw error;
    throw fail({ errno }, 'open', `${DEVICE} is missing here, or the module tun on the host`);
  }
  try {
    const bit = (set: boolean | undefined, value: number) => (set === true ? value : 0);
    const request = new Uint8Array(IFREQ_LENGTH);
    request.set(new TextEncoder().encode(name).subarray(0, IFNAMSIZ - 1));
    new Uint16Array(request.buffer, IFNAMSIZ, 1)[0] =
      (settings.mode === 'tap' ? Tun.IFF_TAP : Tun.IFF_TUN) |
      Tun.IFF_TUN_EXCL |
      bit(settings.packetInformation !== true, Tun.IFF_NO_PI) |
      bit(settings.offloadHeader, Tun.IFF_VNET_HDR) |
      bit(settings.multiQueue, Tun.IFF_MULTI_QUEUE);
    const check = (errno: number, what: string, hint?: string) => {
      if (errno < 0) throw fail({ errno }, `ioctl(${what})`, hint);
    };
    check(ffi().ioctl(fd, Tun.TUNSETIFF, request), 'TUNSETIFF', `there may be a device named ${quote(name)}`);
    const { owner, ownerGroup } = settings;
    if (owner !== undefined) check(ffi().ioctlInt(fd, Tun.TUNSETOWNER, owner), 'TUNSETOWNER');
    if (ownerGroup !== undefined) check(ffi().ioctlInt(fd, Tun.TUNSETGROUP, ownerGroup), 'TUNSETGROUP');
    check(ffi().ioctlInt(fd, Tun.TUNSETPERSIST, 1), 'TUNSETPERSIST');
  } finally {
    fs.closeSync(fd);
  }
}
