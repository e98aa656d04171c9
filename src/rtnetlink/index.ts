export type { AddressFlag, AddressOptions, LinkAddress, Scope } from './address.ts';
export type { Bridge, BridgeSettings } from './bridge.ts';
export type { Link, LinkFlag, LinkType, Macvlan, MacvlanMode } from './link.ts';
export { type DeviceFilter, Links, type LinksOptions, type ListOptions } from './links.ts';
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
export type { LinkChanges, NewBridge, NewLink, NewMacvlan, NewPeer, NewVeth } from './settings.ts';
