package storetest_test

import (
	"os/exec"
	"testing"

	"arca/internal/store"
	"arca/internal/storetest"
)

// The files of known answers are what the other implementation computes, and not what
// somebody made of them so that a test passes.
func TestKnownAnswersAreComputed(t *testing.T) {
	cmd := exec.Command("/usr/bin/python3", "-I", "../../scripts/known-answers.py", "--check")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v (make test-deps installs what it needs)\n%s", err, out)
	}
}

func TestKnown(t *testing.T) {
	s := storetest.Known(t, nil, nil)
	if got, want := s.DeploymentID(), knownDeployment; got != want {
		t.Errorf("deployment %s, want %s", got, want)
	}
	for _, purpose := range []string{"kms", "iam", "session-token", "page-token"} {
		sealed, err := s.Seal(purpose, []byte("x"), nil)
		if err != nil {
			t.Fatal(err)
		}
		if p, err := s.Unseal(purpose, sealed, nil); err != nil || string(p.Bytes()) != "x" {
			t.Errorf("%s: Unseal = %q, %v", purpose, p.Bytes(), err)
		}
	}
	if _, err := s.Update(t.Context(), func(*store.Tx) error { return nil }); err != nil {
		t.Errorf("Update: %v", err)
	}
}

// knownDeployment is the id in known.json.
const knownDeployment = "a22ddea31ccafa0c74e76c012f66a9e4"
