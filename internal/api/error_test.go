package api_test

import (
	"errors"
	"io"
	"testing"

	"arca/internal/api/smapi"
)

func TestError(t *testing.T) {
	plain := smapi.InvalidRequestException.Errorf("no %s here", "secret")
	if got, want := plain.Error(), "InvalidRequestException: no secret here"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	wrapped := smapi.InternalServiceError.Wrap(io.ErrUnexpectedEOF, "try again")
	if got, want := wrapped.Error(), "InternalServiceError: try again (unexpected EOF)"; got != want {
		t.Errorf("Error() = %q, want %q", got, want)
	}
	if !errors.Is(wrapped, io.ErrUnexpectedEOF) {
		t.Error("the cause is lost")
	}
	if errors.Unwrap(plain) != nil {
		t.Error("an error made by Errorf has a cause")
	}
}
