export type { LinkOptions } from './devices.ts';
export type { FailOptions, LoseOptions } from './faults.ts';
export {
  MemoryContainer,
  type MemoryContainerOptions,
  type PacketConnection,
  type PacketCounter,
  type PacketEnds,
  type PacketLog,
  type PacketResult,
  type PacketSent,
  type PacketStep,
  type ReceiveOptions,
} from './memory-container.ts';
export { MemoryKernel, type MemoryKernelOptions, type MemorySnapshot } from './memory-kernel.ts';
export {
  frame,
  type IcmpOptions,
  icmp,
  type TcpFlag,
  type TcpOptions,
  type TransportOptions,
  tcp,
  udp,
} from './packet-makers.ts';
export { type SimulatedRuleset, type SimulateOptions, simulate } from './simulate.ts';
export type { PacketInput, TestPacket } from './test-packet.ts';
