export type { AddressFlag, AddressOptions, LinkAddress, Scope } from './address.ts';
export type { Bridge, BridgeSettings, NewBridge } from './links/bridge.ts';
export type { NewLinkOfKind } from './links/kinds.ts';
export type { Link, LinkFlag } from './links/link.ts';
export type { Macvlan, MacvlanMode, NewMacvlan } from './links/macvlan.ts';
export type { LinkType } from './links/message.ts';
export type { LinkChanges, NewLink, NewPeer } from './links/settings.ts';
export type { NewVeth } from './links/veth.ts';
export type { Neighbour, NeighbourFlag, NeighbourKey, NeighbourState, NewNeighbour } from './neighbour.ts';
export type { IpFamily } from './prefix.ts';
export type {
  NewRoute,
  NextHop,
  Route,
  RouteFilter,
  RouteFlag,
  RouteKey,
  RouteProtocol,
  RouteTable,
  RouteType,
} from './route.ts';
export { type DeviceFilter, Links, type LinksOptions, type ListOptions } from './rtnetlink.ts';
