import { attribute, attributes, checkObject, type Infer, opt, type Type } from '../../codec/index.ts';
import { rangeError, typeError } from '../../errors.ts';
import { VETH_INFO_PEER } from '../../linux/veth.ts';
import { checkName, quote } from '../device.ts';
import { LinkKind } from './kind.ts';
import { DEVICE_ROWS, ifinfomsg } from './message.ts';
import { type NewLink, type NewPeer, onlyOne, PEER_KEYS, wasRead, writePeer } from './settings.ts';

const PEER_ATTRIBUTES = attributes('IFLA', DEVICE_ROWS);
type Peer = Infer<typeof PEER_ATTRIBUTES>;

/** The other end, a whole link message inside the nest: header and attributes. */
const PEER: Type<Peer> = {
  kind: 'ifinfomsg and attributes',
  write(writer, value, context) {
    ifinfomsg.write(writer, { ifi_family: 0, ifi_type: 0, ifi_index: 0, ifi_flags: 0, ifi_change: 0 });
    PEER_ATTRIBUTES.write(writer, value, context);
  },
  read: (source, start, end, context) =>
    end - start < ifinfomsg.size ? undefined : PEER_ATTRIBUTES.read(source, start + ifinfomsg.size, end, context),
  locate: (source, start, end, offset, context) =>
    PEER_ATTRIBUTES.locate(source, start + ifinfomsg.size, end, offset, context),
};

/** IFLA_INFO_DATA of a veth (drivers/net/veth.c). The kernel accepts it but never reports it. */
const VETH = attributes('VETH_INFO', () => ({ peer: opt(attribute(VETH_INFO_PEER, PEER)) }));

/** A new pair of devices. */
export interface NewVeth extends NewLink {
  /** The other end. */
  peer: NewPeer;
}

export const veth = new LinkKind<'veth', NewVeth, Infer<typeof VETH>>({
  name: 'veth',
  data: VETH,
  fields: ['peer'],
  write(options) {
    const { link } = options as { link?: unknown };
    // In a pair that was read, each end names the other in `link`.
    const other = wasRead(options) && typeof link === 'string' ? { name: link } : undefined;
    const peer = options.peer ?? other;
    if (peer === undefined) throw typeError(['peer'], '{ name }', undefined, 'ERR_MISSING');
    checkObject(peer, ['peer'], PEER_KEYS);
    const name = checkName(peer.name, ['peer', 'name']);
    if (name === options.name && !('netns' in peer) && !('netns' in options))
      throw rangeError(['peer', 'name'], 'another name than that of the first end', name);
    return { peer: { ...writePeer(peer, ['peer']), name } };
  },
  refusals: ({ name, mtu, address, peer }) => ({
    hints: {
      EEXIST: `a device named ${quote(name)} exists here, or one named ${quote(peer?.name ?? '')} in the namespace of the peer`,
    },
    blame: {
      EEXIST: undefined,
      EADDRNOTAVAIL: onlyOne({ address, 'peer.address': peer?.address }),
      EINVAL: onlyOne({ mtu, 'peer.mtu': peer?.mtu }),
    },
  }),
});
