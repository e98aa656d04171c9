import * as Vs from '../../linux/ip_vs.ts';
import type { Machine } from '../machine/machine.ts';
import type { Namespace } from '../machine/state.ts';
import type { Writer } from '../wire/attributes.ts';
import { read, settle } from './estimator.ts';
import { secondsOf } from './operations.ts';
import type { Counters, Daemon, Destination, Service, Totals } from './state.ts';

/* Services, destinations and daemons as messages, with the kernel's order of attributes. */

/** Addresses are told in 16 bytes, whatever their family. */
function wide(address: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(16);
  bytes.set(address);
  return bytes;
}

export function writeService(machine: Machine, namespace: Namespace, writer: Writer, service: Service): void {
  writer.nest(Vs.IPVS_CMD_ATTR_SERVICE, () => {
    writer.u16(Vs.IPVS_SVC_ATTR_AF, service.family);
    if (service.mark !== 0) writer.u32(Vs.IPVS_SVC_ATTR_FWMARK, service.mark);
    else {
      writer.u16(Vs.IPVS_SVC_ATTR_PROTOCOL, service.protocol);
      writer.attribute(Vs.IPVS_SVC_ATTR_ADDR, wide(service.address));
      writer.u16be(Vs.IPVS_SVC_ATTR_PORT, service.port);
    }
    writer.text(Vs.IPVS_SVC_ATTR_SCHED_NAME, service.scheduler);
    if (service.engine !== undefined) writer.text(Vs.IPVS_SVC_ATTR_PE_NAME, service.engine);
    const flags = new Uint8Array(8).fill(255, 4);
    new DataView(flags.buffer).setUint32(0, service.flags, true);
    writer.attribute(Vs.IPVS_SVC_ATTR_FLAGS, flags);
    writer.u32(Vs.IPVS_SVC_ATTR_TIMEOUT, secondsOf(service));
    writer.u32(Vs.IPVS_SVC_ATTR_NETMASK, service.netmask);
    settle(namespace, service.counters, Number(machine.state.now));
    writeStats(writer, Vs.IPVS_SVC_ATTR_STATS, Vs.IPVS_SVC_ATTR_STATS64, service.counters);
  });
}

export function writeDestination(
  machine: Machine,
  namespace: Namespace,
  writer: Writer,
  destination: Destination,
): void {
  writer.nest(Vs.IPVS_CMD_ATTR_DEST, () => {
    writer.attribute(Vs.IPVS_DEST_ATTR_ADDR, wide(destination.address));
    writer.u16be(Vs.IPVS_DEST_ATTR_PORT, destination.port);
    writer.u32(Vs.IPVS_DEST_ATTR_FWD_METHOD, destination.flags & Vs.IP_VS_CONN_F_FWD_MASK);
    writer.u32(Vs.IPVS_DEST_ATTR_WEIGHT, destination.weight);
    writer.u8(Vs.IPVS_DEST_ATTR_TUN_TYPE, destination.tunnelType);
    writer.u16be(Vs.IPVS_DEST_ATTR_TUN_PORT, destination.tunnelPort);
    writer.u16(Vs.IPVS_DEST_ATTR_TUN_FLAGS, destination.tunnelFlags);
    writer.u32(Vs.IPVS_DEST_ATTR_U_THRESH, destination.upper);
    writer.u32(Vs.IPVS_DEST_ATTR_L_THRESH, destination.lower);
    writer.u32(Vs.IPVS_DEST_ATTR_ACTIVE_CONNS, destination.active);
    writer.u32(Vs.IPVS_DEST_ATTR_INACT_CONNS, destination.inactive);
    writer.u32(Vs.IPVS_DEST_ATTR_PERSIST_CONNS, destination.persistent);
    writer.u16(Vs.IPVS_DEST_ATTR_ADDR_FAMILY, destination.family);
    settle(namespace, destination.counters, Number(machine.state.now));
    writeStats(writer, Vs.IPVS_DEST_ATTR_STATS, Vs.IPVS_DEST_ATTR_STATS64, destination.counters);
  });
}

export function writeDaemon(writer: Writer, daemon: Daemon): void {
  writer.nest(Vs.IPVS_CMD_ATTR_DAEMON, () => {
    writer.u32(Vs.IPVS_DAEMON_ATTR_STATE, daemon.state);
    writer.text(Vs.IPVS_DAEMON_ATTR_MCAST_IFN, daemon.interface);
    writer.u32(Vs.IPVS_DAEMON_ATTR_SYNC_ID, daemon.syncId);
    writer.u16(Vs.IPVS_DAEMON_ATTR_SYNC_MAXLEN, daemon.maxLength);
    writer.u16(Vs.IPVS_DAEMON_ATTR_MCAST_PORT, daemon.port);
    writer.u8(Vs.IPVS_DAEMON_ATTR_MCAST_TTL, daemon.ttl);
    const type = daemon.group.length === 4 ? Vs.IPVS_DAEMON_ATTR_MCAST_GROUP : Vs.IPVS_DAEMON_ATTR_MCAST_GROUP6;
    writer.attribute(type, daemon.group);
  });
}

const KEYS = ['connections', 'inPackets', 'outPackets', 'inBytes', 'outBytes'] as const satisfies (keyof Totals)[];

/** Twice: in 32 bits, of which only bytes have 64, and in 64 bits. */
function writeStats(writer: Writer, narrow: number, whole: number, counters: Counters): void {
  const { totals, rates } = read(counters);
  writer.nest(narrow, () => {
    for (const [i, key] of KEYS.entries()) {
      const type = Vs.IPVS_STATS_ATTR_CONNS + i;
      if (i < 3) writer.u32(type, totals[key] % 2 ** 32);
      else writer.u64(type, BigInt(totals[key]));
    }
    for (const [i, key] of KEYS.entries()) writer.u32(Vs.IPVS_STATS_ATTR_CPS + i, rates[key] % 2 ** 32);
  });
  writer.nest(whole, () => {
    for (const [i, key] of KEYS.entries()) writer.u64(Vs.IPVS_STATS_ATTR_CONNS + i, BigInt(totals[key]));
    for (const [i, key] of KEYS.entries()) writer.u64(Vs.IPVS_STATS_ATTR_CPS + i, BigInt(rates[key]));
  });
}
