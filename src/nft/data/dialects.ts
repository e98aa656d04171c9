/*
 * The differences between the versions of nft that this library follows: in their words, their listings, and their bytecode. Each version
 * is one object here.
 */

/** The properties in which versions of nft differ. */
export interface Dialect {
  readonly version: '1.1.6' | '1.0.6';

  /* The words of its language. */

  /** Tunnels: their objects, their meta data, and the headers inside them. */
  readonly hasTunnels: boolean;
  /** `last`, `fib ... check`, operands that are not constant. 1.0.6 has no words for them. */
  readonly hasNewerExpressions: boolean;
  /** Commands such as `destroy` and `reset rules`, and the flag `persist` of tables. */
  readonly hasNewerCommands: boolean;
  /** `destroy`, `last`, `vxlan` and others are keywords, and cannot be names. */
  readonly reservesNewerWords: boolean;
  /** `taddr` and `daddr` of ICMPv6. */
  readonly hasNewerIcmpFields: boolean;
  /** Some types have other names for their values. */
  readonly usesOldSymbols: boolean;
  /** `dstnat` in output too, `srcnat` in input too. */
  readonly hasPriorityNamesInBothHooks: boolean;
  /** A chain can name its devices by the beginning of their names. */
  readonly hasDevicePrefixes: boolean;
  /** `typeof` in maps of objects. */
  readonly hasTypeofOfObjectMaps: boolean;
  /** Traffic classes are read up to the first sign that is none of a number: `meta priority foo` is 0. */
  readonly readsAnyClassid: boolean;
  /** It reads some of the calculations that it prints as others, or not at all. */
  readonly misreadsCalculations: boolean;

  /* Text. */

  /** The devices of a chain are in quotes. */
  readonly quotesDevices: boolean;
  /** The number of a set's elements stands behind its size. */
  readonly countsElements: boolean;
  /** Elements with more than a key have lines of their own. */
  readonly breaksLongElements: boolean;
  /** `fib` that only asks whether there is a route is `check`, and not `oif`. */
  readonly printsCheck: boolean;
  /** `timeout never` of elements. */
  readonly printsNever: boolean;
  /** `burst 5 packets` of a limit in a rule, although it is the default. */
  readonly printsDefaultBurst: boolean;
  /** A port of `tproxy` that is not constant. */
  readonly printsMappedPorts: boolean;
  /** The timeouts of connections have units: `2m`, and not `120`. */
  readonly printsTimeoutUnits: boolean;
  /** Codes of ICMP by name. */
  readonly printsIcmpCodeNames: boolean;
  /** Fields that are numbers of bits, such as `ip frag-off`, in hexadecimal. */
  readonly printsHexFields: boolean;
  /** `[invalid type]` behind values whose type is not known. */
  readonly printsInvalidTypes: boolean;
  /** Hours that are below zero in local time go round to the end of the day. */
  readonly wrapsNegativeHours: boolean;

  /* JSON. */

  /** Chains come before sets. */
  readonly listsChainsFirst: boolean;
  /** A single flag is a list, too. */
  readonly listsSingleFlags: boolean;
  /** Comments of tables and chains. */
  readonly hasComments: boolean;
  /** `typeof`, the flag dynamic, auto-merge, and the devices of chains. */
  readonly hasSetDetails: boolean;
  /** The type of concatenated values is a list of names. */
  readonly splitsMapTypes: boolean;
  /** `a | b | c` is one operation of three operands. */
  readonly flattensOperands: boolean;
  /** Elements show all their statements; else only the first. */
  readonly hasElementStates: boolean;
  /** Elements that never time out show it. */
  readonly hasElementTimeoutNever: boolean;
  /** Changes of maps have JSON; else their text stands in the list. */
  readonly hasMapUpdates: boolean;

  /* Bytecode to statements. */

  /** The length in bits of the truth value that fib loads. */
  readonly fibBooleanBits: 8 | 32;
  /** A key that a rule adds to a set has the type of the set. */
  readonly typesKeysOfChanges: boolean;
  /** A match on the transport protocol stays before ports of any protocol. */
  readonly keepsTransportBeforePorts: boolean;
  /** A match on `ct ip saddr` implies the one on the network protocol. */
  readonly releasesConnectionKeys: boolean;
  /** `meta l4proto icmp` implies a match on the network protocol only of the same family. */
  readonly keepsOnlyIcmpOfItsFamily: boolean;
  /** Addresses in IP options are addresses, not numbers. */
  readonly knowsIpOptionAddresses: boolean;
  /** A shift has the length of its instruction; else that of its operand. */
  readonly widensShifts: boolean;
  /** The value of a shift is a number; else it has the type of its operand. */
  readonly hasIntegerShifts: boolean;
  /** A mask with a shift stands for the field that it takes out. */
  readonly unshiftsFields: boolean;
  /** A mask over bits without a name stands for a load of fewer bits. */
  readonly trimsRawBits: boolean;
  /** A write of a part of a field is shown as one of that part. */
  readonly narrowsWrites: boolean;
  /** No match before a rewritten port may be left out. */
  readonly forgetsBeforePorts: boolean;
  /** The keys of a concatenation are read together with the set of the look-up. */
  readonly knowsSetOfConcatenation: boolean;
  /** A range of the time of the day over midnight. */
  readonly turnsHoursRound: boolean;
  /** Values of fields that one load has read together have no byte order. */
  readonly forgetsOrderOfFields: boolean;
  /** A constant that is longer than the other operand has the order of this machine. */
  readonly widensMaskOrder: boolean;
  /** Flags and a mask are one comparison: `tcp flags syn / syn,ack`. */
  readonly comparesFlagsByMask: boolean;
  /** Marks, realms and groups of devices can be prefixes. */
  readonly prefixesFileNumbers: boolean;
  /** The last one of equal elements comes first. */
  readonly sortsEqualsBackwards: boolean;
  /** All elements are sorted as numbers of this machine; else texts by their letters. */
  readonly sortsByMemory: boolean;

  /* Statements to bytecode. */

  /** A calculation has the length of the field that the statement writes; else that of its left side. */
  readonly widensByStatement: boolean;
  /** A shift gives a number; else a value with the type of its operand. */
  readonly hasIntegerShiftTypes: boolean;
  /** Each number can be written to a mark. */
  readonly convertsMarksOfAnyType: boolean;
  /** Bits without a name change their byte order for a mark. */
  readonly convertsRawBitsForMarks: boolean;
  /** `numgen` changes its byte order in the place of an IPv4 address. */
  readonly convertsGeneratedAddresses: boolean;
  /** Numbers of queues have a type of their own. */
  readonly hasQueueType: boolean;
  /** A range from a value to itself is that value. */
  readonly singlesAreNoRanges: boolean;
  /** A range is one instruction; else two comparisons. */
  readonly hasRangeComparison: boolean;
  /** The left side of a range must be a number; else it must have the same type. */
  readonly comparesAnyRange: boolean;
  /** A look-up of the protocol in a named set counts as a match on the protocol. */
  readonly learnsFromNamedSets: boolean;
  /** One flag in braces is compared with all flags: no other may be set. */
  readonly comparesSingleFlags: boolean;
  /** A write of a part of a byte masks the field out of its bytes first. */
  readonly masksInWrites: boolean;
  /** A masked field, in a key or in a calculation, changes its byte order before it is shifted. */
  readonly turnsMaskedFields: boolean;
  /** A field of some bits in a concatenation has the shift that its load needs anyway. */
  readonly unshiftsConcatenations: boolean;
  /** The sets of a rule have a size. */
  readonly countsElementsOfSets: boolean;
  /** The sets of a rule that have ranges have the flag auto-merge, too. */
  readonly mergesAnonymousSets: boolean;
  /** A match before another statement may be merged with one behind it. */
  readonly mergesAcrossStatements: boolean;
  /** Checksums of headers are corrected that newer versions leave alone. */
  readonly usesOldChecksums: boolean;
  /** Writes to VLAN headers have an even number of bytes. */
  readonly evensVlanWrites: boolean;
  /** A write to UDP's header corrects the checksum only if the packet has one. */
  readonly correctsUdpChecksum: boolean;
  /** Constants and tunnels have a description in the user data of sets. */
  readonly describesConstants: boolean;
  /** A calculated part of a key is described by its operand. */
  readonly describesCalculations: boolean;
  /** In the user data of sets, the kinds behind `tunnel` have numbers that are one higher. */
  readonly countsTunnelKind: boolean;
}

export const NFT_1_1_6: Dialect = {
  version: '1.1.6',
  hasTunnels: true,
  hasNewerExpressions: true,
  hasNewerCommands: true,
  reservesNewerWords: true,
  hasNewerIcmpFields: true,
  usesOldSymbols: false,
  hasPriorityNamesInBothHooks: true,
  hasDevicePrefixes: true,
  hasTypeofOfObjectMaps: true,
  readsAnyClassid: false,
  misreadsCalculations: false,
  quotesDevices: true,
  countsElements: true,
  breaksLongElements: true,
  printsCheck: true,
  printsNever: true,
  printsDefaultBurst: true,
  printsMappedPorts: true,
  printsTimeoutUnits: true,
  printsIcmpCodeNames: false,
  printsHexFields: true,
  printsInvalidTypes: false,
  wrapsNegativeHours: true,
  listsChainsFirst: true,
  listsSingleFlags: true,
  hasComments: true,
  hasSetDetails: true,
  splitsMapTypes: true,
  flattensOperands: true,
  hasElementStates: true,
  hasElementTimeoutNever: true,
  hasMapUpdates: true,
  fibBooleanBits: 8,
  typesKeysOfChanges: true,
  keepsTransportBeforePorts: true,
  releasesConnectionKeys: true,
  keepsOnlyIcmpOfItsFamily: true,
  knowsIpOptionAddresses: true,
  widensShifts: true,
  hasIntegerShifts: true,
  unshiftsFields: true,
  trimsRawBits: true,
  narrowsWrites: true,
  forgetsBeforePorts: false,
  knowsSetOfConcatenation: true,
  turnsHoursRound: true,
  forgetsOrderOfFields: true,
  widensMaskOrder: true,
  comparesFlagsByMask: false,
  prefixesFileNumbers: false,
  sortsEqualsBackwards: false,
  sortsByMemory: false,
  widensByStatement: true,
  hasIntegerShiftTypes: true,
  convertsMarksOfAnyType: true,
  convertsRawBitsForMarks: true,
  convertsGeneratedAddresses: true,
  hasQueueType: true,
  singlesAreNoRanges: true,
  hasRangeComparison: true,
  comparesAnyRange: true,
  learnsFromNamedSets: true,
  comparesSingleFlags: true,
  masksInWrites: false,
  turnsMaskedFields: true,
  unshiftsConcatenations: false,
  countsElementsOfSets: false,
  mergesAnonymousSets: false,
  mergesAcrossStatements: false,
  usesOldChecksums: false,
  evensVlanWrites: true,
  correctsUdpChecksum: true,
  describesConstants: true,
  describesCalculations: true,
  countsTunnelKind: true,
};

/** The version of Debian 12. */
export const NFT_1_0_6: Dialect = {
  version: '1.0.6',
  hasTunnels: false,
  hasNewerExpressions: false,
  hasNewerCommands: false,
  reservesNewerWords: false,
  hasNewerIcmpFields: false,
  usesOldSymbols: true,
  hasPriorityNamesInBothHooks: false,
  hasDevicePrefixes: false,
  hasTypeofOfObjectMaps: false,
  readsAnyClassid: true,
  misreadsCalculations: true,
  quotesDevices: false,
  countsElements: false,
  breaksLongElements: false,
  printsCheck: false,
  printsNever: false,
  printsDefaultBurst: false,
  printsMappedPorts: false,
  printsTimeoutUnits: false,
  printsIcmpCodeNames: true,
  printsHexFields: false,
  printsInvalidTypes: true,
  wrapsNegativeHours: false,
  listsChainsFirst: false,
  listsSingleFlags: false,
  hasComments: false,
  hasSetDetails: false,
  splitsMapTypes: false,
  flattensOperands: false,
  hasElementStates: false,
  hasElementTimeoutNever: false,
  hasMapUpdates: false,
  // nft 1.0.6 compares four bytes; the kernel writes one of them.
  fibBooleanBits: 32,
  typesKeysOfChanges: false,
  keepsTransportBeforePorts: false,
  releasesConnectionKeys: false,
  keepsOnlyIcmpOfItsFamily: false,
  knowsIpOptionAddresses: false,
  widensShifts: false,
  hasIntegerShifts: false,
  unshiftsFields: false,
  trimsRawBits: false,
  narrowsWrites: false,
  forgetsBeforePorts: true,
  knowsSetOfConcatenation: false,
  turnsHoursRound: false,
  forgetsOrderOfFields: false,
  widensMaskOrder: false,
  comparesFlagsByMask: true,
  prefixesFileNumbers: true,
  sortsEqualsBackwards: true,
  sortsByMemory: true,
  widensByStatement: false,
  hasIntegerShiftTypes: false,
  convertsMarksOfAnyType: false,
  convertsRawBitsForMarks: false,
  convertsGeneratedAddresses: false,
  hasQueueType: false,
  singlesAreNoRanges: false,
  hasRangeComparison: false,
  comparesAnyRange: false,
  learnsFromNamedSets: false,
  comparesSingleFlags: false,
  masksInWrites: true,
  turnsMaskedFields: false,
  unshiftsConcatenations: true,
  countsElementsOfSets: true,
  mergesAnonymousSets: true,
  mergesAcrossStatements: true,
  usesOldChecksums: true,
  evensVlanWrites: false,
  correctsUdpChecksum: false,
  describesConstants: false,
  describesCalculations: false,
  countsTunnelKind: false,
};

export const dialectOf = (version: string | undefined): Dialect => (version === '1.0.6' ? NFT_1_0_6 : NFT_1_1_6);
