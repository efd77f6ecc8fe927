package faulttest

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

// TestKillDuringMigration kills the command that moves data to another root key, at any
// moment. Each time exactly one of the two configurations opens the data, and the error
// of the other one is about its root key.
func TestKillDuringMigration(t *testing.T) {
	kills := 5
	if *long {
		kills = 50
	}
	home := t.TempDir()
	env := []string{"ARCA_ROOT_ACCESS_KEY_ID=AKIAIOSFODNN7EXAMPLE", "ARCA_ROOT_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}
	// config names a root key that no other configuration names.
	config := func(n int) string {
		path := filepath.Join(home, fmt.Sprintf("%d.toml", n))
		text := fmt.Sprintf("data_dir = %q\nlisten = \"127.0.0.1:0\"\ntls.off = true\nroot_key.file = %q\n",
			filepath.Join(home, "data"), filepath.Join(home, "keys", fmt.Sprintf("%d.key", n)))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	opens := func(path string) error {
		cmd := exec.CommandContext(t.Context(), binary, "fsck", "--config", path)
		cmd.Env = append(os.Environ(), env...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	}
	now := config(0)
	p := start(t, env, "server", "--config", now)
	if _, err := client(p.url, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").CreateSecret(t.Context(),
		&secretsmanager.CreateSecretInput{Name: aws.String("kept"), SecretString: aws.String("value")}); err != nil {
		t.Fatal(err)
	}
	p.stop()
	// What one takes undisturbed, to kill within.
	whole := time.Second
	moved, stayed := 0, 0
	for n := 1; n <= kills; n++ {
		next := config(n)
		cmd := exec.Command(binary, "root-key", "migrate", "--config", now, "--to", next)
		cmd.Env = append(os.Environ(), env...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		if n > 1 { // the first one runs to its end
			kill := time.AfterFunc(whole/10+rand.N(whole*8/10), func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait()
			kill.Stop()
		} else if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		} else {
			whole = time.Since(begun)
		}
		before, after := opens(now), opens(next)
		switch {
		case (before == nil) == (after == nil):
			t.Fatalf("after kill %d the former configuration: %v; the new one: %v", n, before, after)
		case before == nil:
			stayed++
			if !strings.Contains(after.Error(), "root key") {
				t.Errorf("kill %d: the new configuration says %v", n, after)
			}
		default:
			moved++
			if !strings.Contains(before.Error(), "root key") {
				t.Errorf("kill %d: the former configuration says %v", n, before)
			}
			now = next
		}
	}
	p = start(t, env, "server", "--config", now)
	got, err := client(p.url, "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").GetSecretValue(t.Context(),
		&secretsmanager.GetSecretValueInput{SecretId: aws.String("kept")})
	if err != nil || aws.ToString(got.SecretString) != "value" {
		t.Errorf("at the end the secret is %v", err)
	}
	p.stop()
	t.Logf("%d migrations came to their end, %d did not", moved, stayed)
}
