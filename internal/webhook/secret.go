package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"time"
)

const (
	secretPrefix = "whsec_"
	// The lengths that Standard Webhooks allows.
	minSecretBytes = 24
	maxSecretBytes = 64

	redacted = "REDACTED"
)

// Secret is the key that a receiver and its sender share. However it is printed,
// logged or encoded, it yields REDACTED.
type Secret struct{ key []byte }

// ParseSecret reads a secret as it is written down: 24 to 64 bytes in base64, with or
// without the prefix whsec_. Its errors do not repeat what was given.
func ParseSecret(text string) (Secret, error) {
	text = strings.TrimPrefix(strings.TrimSpace(text), secretPrefix)
	if len(text) > base64.StdEncoding.EncodedLen(maxSecretBytes) {
		return Secret{}, fmt.Errorf("webhook secret is longer than %d bytes", maxSecretBytes)
	}
	key, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		// The decoder's error tells a position, and with it a little of the text.
		return Secret{}, errors.New("webhook secret is not whsec_ and base64")
	}
	if len(key) < minSecretBytes || len(key) > maxSecretBytes {
		return Secret{}, fmt.Errorf("webhook secret has %d bytes, want %d to %d", len(key), minSecretBytes, maxSecretBytes)
	}
	return Secret{key: key}, nil
}

// Sign returns the signature of a message under this secret, version v1 of Standard
// Webhooks: HMAC-SHA256 over the id, the time in seconds and the body, with dots
// between them.
func (s Secret) Sign(id string, at time.Time, body []byte) string {
	mac := hmac.New(sha256.New, s.key)
	mac.Write([]byte(id))
	mac.Write([]byte{'.'})
	mac.Write(strconv.AppendInt(nil, at.Unix(), 10))
	mac.Write([]byte{'.'})
	mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// String hides the secret.
func (Secret) String() string { return redacted }

// GoString hides the secret.
func (Secret) GoString() string { return redacted }

// Format hides the secret under every verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue hides the secret.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the secret in JSON and everything else that encodes text.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
