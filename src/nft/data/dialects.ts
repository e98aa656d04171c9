/*
 * Where the versions of nft that this library follows differ: in their words, their listings, and in how they compile. One object for each
 * version; a further version is one more.
 */

/** What a version of nft does otherwise than others. */
export interface Dialect {
  readonly version: '1.1.6' | '1.0.6';

  /* Words that it knows. */

  /** Tunnels: their objects, their meta data, and headers inside of them. */
  readonly hasTunnels: boolean;
  /** `last`, `check` of fib behind its own name, operands that are not constant: what 1.0.6 has no words for. */
  readonly hasNewerExpressions: boolean;
  /** `destroy`, `last`, `vxlan` and others cannot be names. */
  readonly reservesNewerWords: boolean;
  /** `taddr` and `daddr` of ICMPv6. */
  readonly hasNewerIcmpFields: boolean;
  /** Some types have other names for their values. */
  readonly usesOldSymbols: boolean;
  /** `dstnat` in output too, `srcnat` in input too. */
  readonly hasPriorityNamesInBothHooks: boolean;
  /** Devices of a chain may be given by the beginning of their names. */
  readonly hasDevicePrefixes: boolean;
  /** `typeof` in maps of objects. */
  readonly hasTypeofOfObjectMaps: boolean;
  /** Reads some of the calculations that it prints as others, or not at all. */
  readonly misreadsCalculations: boolean;

  /* Text. */

  /** The devices of a chain stand in quotes. */
  readonly quotesDevices: boolean;
  /** How many elements a set has stands behind its size. */
  readonly countsElements: boolean;
  /** Elements that have more than a key stand in lines of their own. */
  readonly breaksLongElements: boolean;
  /** A route that is asked for only whether it is there: `check`, and not `oif`. */
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
  /** Times of the day of yesterday become those of today. */
  readonly wrapsNegativeHours: boolean;

  /* JSON. */

  /** Chains come before sets. */
  readonly listsChainsFirst: boolean;
  /** A single flag is a list of one, too. */
  readonly listsSingleFlags: boolean;
  /** Comments of tables and chains. */
  readonly hasComments: boolean;
  /** `typeof`, the flag dynamic, auto-merge, and the devices of chains. */
  readonly hasSetDetails: boolean;
  /** The type of concatenated values is a list of names. */
  readonly splitsMapTypes: boolean;
  /** `a | b | c` is one operation of three operands. */
  readonly flattensOperands: boolean;
  /** All statements of an element; else only the first. */
  readonly hasElementStates: boolean;
  /** An element that never times out says so. */
  readonly hasElementTimeoutNever: boolean;
  /** Changes of maps; else their text stands in the list. */
  readonly hasMapUpdates: boolean;

  /* How a rule's bytecode is read. */

  /** Bits of the truth value that fib gives. */
  readonly fibBooleanBits: 8 | 32;
  /** A key that a rule adds to a set has the type of the set. */
  readonly typesKeysOfChanges: boolean;
  /** A match on the transport protocol stays before ports of any protocol. */
  readonly keepsTransportBeforePorts: boolean;
  /** A match on `ct ip saddr` makes the one on the network protocol needless. */
  readonly releasesConnectionKeys: boolean;
  /** A match on the network protocol goes before `meta l4proto icmp` only where it is of the same family. */
  readonly keepsOnlyIcmpOfItsFamily: boolean;
  /** Addresses in IP options are addresses, not numbers. */
  readonly knowsIpOptionAddresses: boolean;
  /** A shift is as long as its instruction says; else as what is shifted. */
  readonly widensShifts: boolean;
  /** The value of a shift is a number; else it is of the type that is shifted. */
  readonly hasIntegerShifts: boolean;
  /** A mask with a shift is the field that it takes out. */
  readonly unshiftsFields: boolean;
  /** A mask over bits without a name is a load of fewer bits. */
  readonly trimsRawBits: boolean;
  /** A write of a part of a field is told as one of that part. */
  readonly narrowsWrites: boolean;
  /** A port that is rewritten ends what may be left out before it. */
  readonly forgetsBeforePorts: boolean;
  /** The keys of a concatenation are read with the set that they are looked up in. */
  readonly knowsSetOfConcatenation: boolean;
  /** A range of the time of the day over midnight. */
  readonly turnsHoursRound: boolean;
  /** Values of fields that were loaded at once have no byte order. */
  readonly forgetsOrderOfFields: boolean;
  /** A constant that is longer than its other operand has the order of this machine. */
  readonly widensMaskOrder: boolean;
  /** Flags and a mask are one comparison: `tcp flags syn / syn,ack`. */
  readonly comparesFlagsByMask: boolean;
  /** Marks, realms and groups of devices can be prefixes. */
  readonly prefixesFileNumbers: boolean;
  /** Of equal elements the last one comes first. */
  readonly sortsEqualsBackwards: boolean;
  /** Elements are sorted as numbers of this machine, whatever they are; else texts by their letters. */
  readonly sortsByMemory: boolean;

  /* How a rule is compiled. */

  /** A calculation is as long as what the statement writes; else as its left side. */
  readonly widensByStatement: boolean;
  /** A shift gives a number; else a value of the type that is shifted. */
  readonly hasIntegerShiftTypes: boolean;
  /** Whatever is a number can be written to a mark. */
  readonly convertsMarksOfAnyType: boolean;
  /** Bits without a name are turned around for a mark. */
  readonly convertsRawBitsForMarks: boolean;
  /** `numgen` is turned around where it stands for an IPv4 address. */
  readonly convertsGeneratedAddresses: boolean;
  /** Numbers of queues are a type of their own. */
  readonly hasQueueType: boolean;
  /** A range from a value to itself is that value. */
  readonly singlesAreNoRanges: boolean;
  /** A range is one instruction; else two comparisons. */
  readonly hasRangeComparison: boolean;
  /** A range needs numbers on the left; else the same type. */
  readonly comparesAnyRange: boolean;
  /** A look into a set with a name tells that the protocol is one of them. */
  readonly learnsFromNamedSets: boolean;
  /** One flag in braces must be the only one that is set. */
  readonly comparesSingleFlags: boolean;
  /** A write of a part of a byte takes the field out of its bytes first. */
  readonly masksInWrites: boolean;
  /** A field that is masked, in a key or in a calculation, is turned around before it is shifted. */
  readonly turnsMaskedFields: boolean;
  /** A field of some bits in a concatenation comes with the shift that its load needs anyway. */
  readonly unshiftsConcatenations: boolean;
  /** Sets of a rule say how many elements there will be. */
  readonly countsElementsOfSets: boolean;
  /** Sets of a rule with ranges say that they merge, even where nothing is merged. */
  readonly mergesAnonymousSets: boolean;
  /** Corrects checksums of headers that newer versions leave alone. */
  readonly usesOldChecksums: boolean;
  /** Writes to VLAN headers are of two bytes each. */
  readonly evensVlanWrites: boolean;
  /** A write to UDP's header corrects its checksum only where there is one. */
  readonly correctsUdpChecksum: boolean;
  /** Constants and tunnels have a description in the user data of sets. */
  readonly describesConstants: boolean;
  /** A part of a key that is calculated is described by what it is calculated from. */
  readonly describesCalculations: boolean;
  /** In the user data of sets, kinds behind `tunnel` have a number that is one higher. */
  readonly countsTunnelKind: boolean;
}

export const NFT_1_1_6: Dialect = {
  version: '1.1.6',
  hasTunnels: true,
  hasNewerExpressions: true,
  reservesNewerWords: true,
  hasNewerIcmpFields: true,
  usesOldSymbols: false,
  hasPriorityNamesInBothHooks: true,
  hasDevicePrefixes: true,
  hasTypeofOfObjectMaps: true,
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
  usesOldChecksums: false,
  evensVlanWrites: true,
  correctsUdpChecksum: true,
  describesConstants: true,
  describesCalculations: true,
  countsTunnelKind: true,
};

/** Debian 12's. */
export const NFT_1_0_6: Dialect = {
  version: '1.0.6',
  hasTunnels: false,
  hasNewerExpressions: false,
  reservesNewerWords: false,
  hasNewerIcmpFields: false,
  usesOldSymbols: true,
  hasPriorityNamesInBothHooks: false,
  hasDevicePrefixes: false,
  hasTypeofOfObjectMaps: false,
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
  // Four bytes, of which the kernel writes one.
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
  usesOldChecksums: true,
  evensVlanWrites: false,
  correctsUdpChecksum: false,
  describesConstants: false,
  describesCalculations: false,
  countsTunnelKind: false,
};

export const dialectOf = (version: string | undefined): Dialect => (version === '1.0.6' ? NFT_1_0_6 : NFT_1_1_6);
