import {
  attribute,
  attributes,
  type Infer,
  list,
  namedBits,
  opt,
  struct,
  type Type,
  U32_NE,
  u16be,
  u16ne,
} from '../../codec/index.ts';
import { oneOf, typeError } from '../../errors.ts';
import * as C from '../../linux/if_link.ts';
import { LinkKind, type Need, type SettingsOf } from './kind.ts';
import type { NewLink } from './settings.ts';

const ifla_vlan_flags = struct('ifla_vlan_flags', { flags: [4, U32_NE], mask: [4, U32_NE] });
const ifla_vlan_qos_mapping = struct('ifla_vlan_qos_mapping', {
  /** The priority that is mapped. */
  from: [4, U32_NE],
  /** The priority that it becomes. */
  to: [4, U32_NE],
});

/** VLAN_FLAG_* (include/uapi/linux/if_vlan.h). */
const FLAGS = { 'reorder-header': 1, gvrp: 2, 'loose-binding': 4, mvrp: 8, 'bridge-binding': 16 } as const;
/** A flag of a VLAN device: see `VlanDevice.flags`. */
export type VlanFlag = keyof typeof FLAGS;
const ALL_FLAGS = Object.values(FLAGS).reduce((all, bit) => all | bit, 0);

/** The flags that are set. On the wire, a mask of all flags follows, so that a request sets exactly these. */
const VLAN_FLAGS: Type<(VlanFlag | number)[]> = {
  kind: 'vlan flags',
  write(writer, value) {
    if (!Array.isArray(value)) throw typeError([], 'an array of flags', value);
    let flags = 0;
    for (const [i, flag] of value.entries()) {
      const bit = typeof flag === 'string' && Object.hasOwn(FLAGS, flag) ? FLAGS[flag] : flag;
      if (typeof bit !== 'number') throw typeError([i], oneOf(Object.keys(FLAGS), flag), flag);
      flags |= bit;
    }
    ifla_vlan_flags.write(writer, { flags: flags >>> 0, mask: (flags | ALL_FLAGS) >>> 0 });
  },
  read(source, start, end) {
    const value = ifla_vlan_flags.read(source, start, end);
    return value && namedBits<VlanFlag>(value.flags, FLAGS);
  },
};

/** A pair of priorities: the kernel's for a packet, and the one in its tag (0 to 7). The direction of the mapping depends on its list. */
export type PriorityMapping = Infer<typeof ifla_vlan_qos_mapping>;

/** IFLA_INFO_DATA of a VLAN device (net/8021q/vlan_netlink.c). */
const VLAN = attributes('IFLA_VLAN', () => ({
  /** The VLAN's number, 0 to 4094. */
  id: opt(u16ne(C.IFLA_VLAN_ID)),
  /**
   * 'reorder-header' (on in a new device): packets show no tag. 'gvrp' and 'mvrp': announce the VLAN to switches. 'loose-binding': the
   * state of the device below does not matter. 'bridge-binding': the device is up while a port of the bridge below has the VLAN.
   */
  flags: opt(attribute(C.IFLA_VLAN_FLAGS, VLAN_FLAGS)),
  /**
   * Maps the kernel's priority of an outgoing packet to the priority of its tag, 0 to 7. A change adds mappings; a mapping to 0 removes
   * one.
   */
  egressPriorities: opt(list(C.IFLA_VLAN_EGRESS_QOS, C.IFLA_VLAN_QOS_MAPPING, ifla_vlan_qos_mapping)),
  /**
   * Maps the tag's priority of an incoming packet, 0 to 7, to the kernel's priority. A change adds mappings; a mapping to 0 removes one.
   */
  ingressPriorities: opt(list(C.IFLA_VLAN_INGRESS_QOS, C.IFLA_VLAN_QOS_MAPPING, ifla_vlan_qos_mapping)),
  /** EtherType of the tags: 0x8100 (the default), or 0x88a8 for provider bridges. */
  protocol: opt(u16be(C.IFLA_VLAN_PROTOCOL)),
}));
/** The settings of a VLAN device, as the kernel reports them. */
export type VlanDevice = Infer<typeof VLAN>;

/** A new VLAN device: it sends and receives the packets of one VLAN on the device below. */
export type NewVlan = NewLink & {
  /** The device below, in the namespace of the handle. */
  link: string;
} & SettingsOf<'vlan', Need<VlanDevice, 'id'>>;

const hasMappings = (given: readonly PriorityMapping[], read: readonly PriorityMapping[] = []) =>
  given.every(({ from, to }) => (read.find(other => other.from === from)?.to ?? 0) === to);

export const vlan = new LinkKind<'vlan', NewVlan, VlanDevice>({
  name: 'vlan',
  data: VLAN,
  required: ['id'],
  // 4095 is reserved (IEEE 802.1Q).
  limits: { id: [0, 4094] },
  fixed: ['id', 'protocol'],
  reads: { egressPriorities: hasMappings, ingressPriorities: hasMappings },
  link: 'required',
});
