package oidc

import "time"

// SetTimeout changes how long an issuer has to answer. It is called before anything is
// verified.
func (v *Verifier) SetTimeout(d time.Duration) { v.keys.timeout = d }

// Remembered is of how many issuers something is known.
func (v *Verifier) Remembered() int {
	v.keys.mu.Lock()
	defer v.keys.mu.Unlock()
	return len(v.keys.issuers)
}

// ParseKeys reads a key set and tells how many keys are usable.
func ParseKeys(body []byte) (int, error) {
	keys, err := parseKeys(body)
	return len(keys), err
}
