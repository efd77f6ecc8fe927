package envelope

// Derive is the derivation of message keys.
var Derive = derive
