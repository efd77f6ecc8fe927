package api_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

// TestSensitiveValuesStayHidden prints an input in every ordinary way.
func TestSensitiveValuesStayHidden(t *testing.T) {
	const secret = "hunter2-and-more"
	s := api.SensitiveString(secret)
	in := smapi.PutSecretValueInput{SecretId: "x", SecretString: &s, SecretBinary: api.SensitiveBytes(secret)}

	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d"} {
		fmt.Fprintf(&shown, verb+"\n", in)
		fmt.Fprintf(&shown, verb+" "+verb+"\n", *in.SecretString, in.SecretBinary)
		fmt.Fprintf(&shown, verb+"\n", in.SecretString)
	}
	if err := json.NewEncoder(&shown).Encode(in); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&shown, nil))
	log.Info("in", "input", in, "string", *in.SecretString, "bytes", in.SecretBinary)
	log = slog.New(slog.NewJSONHandler(&shown, nil))
	log.Info("in", "input", in, "string", *in.SecretString, "bytes", in.SecretBinary)
	fmt.Fprintln(&shown, in.SecretString.String(), in.SecretString.GoString(), in.SecretBinary.String(), in.SecretBinary.GoString())

	for _, form := range []string{
		secret, fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret), fmt.Sprint([]byte(secret)), "aHVudGVyMi1hbmQtbW9yZQ",
	} {
		if strings.Contains(shown.String(), form) {
			t.Errorf("a sensitive value shows as %s in\n%s", form, shown.String())
		}
	}
}
