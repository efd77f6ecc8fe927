package envelope

// Derive is the derivation of message keys.
var Derive = derive

// HMACSum is the HMAC that Derive is made of outside FIPS mode.
func HMACSum(key, message []byte) [32]byte { return hmacSum(key, message) }
