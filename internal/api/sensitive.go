package api

import (
	"fmt"
	"log/slog"
)

const redacted = "REDACTED"

// SensitiveString is a string member that the description marks sensitive. Every
// ordinary way of printing, logging or JSON-encoding it yields REDACTED; only
// package wire and the operation that owns the value convert it to a string.
type SensitiveString string

// String returns REDACTED.
func (SensitiveString) String() string { return redacted }

// GoString returns REDACTED.
func (SensitiveString) GoString() string { return redacted }

// Format writes REDACTED for every verb, %x and %q included.
func (SensitiveString) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns REDACTED.
func (SensitiveString) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED, also for encoding/json.
func (SensitiveString) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// SensitiveBytes is SensitiveString for blob members.
type SensitiveBytes []byte

// String returns REDACTED.
func (SensitiveBytes) String() string { return redacted }

// GoString returns REDACTED.
func (SensitiveBytes) GoString() string { return redacted }

// Format writes REDACTED for every verb, %x and %q included.
func (SensitiveBytes) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns REDACTED.
func (SensitiveBytes) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns REDACTED, also for encoding/json.
func (SensitiveBytes) MarshalText() ([]byte, error) { return []byte(redacted), nil }
