package apptest_test

import (
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/app"
	"arca/internal/apptest"
)

func TestNew(t *testing.T) {
	s := apptest.New(t)
	c := s.Client()
	if _, err := c.CreateSecret(t.Context(), &secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("v")}); err != nil {
		t.Fatal(err)
	}
	out, err := c.GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(out.SecretString); got != "v" {
		t.Errorf("value = %q, want v", got)
	}
}

// What one server stored, the next one on the same data has.
func TestHome(t *testing.T) {
	home := t.TempDir()
	t.Run("first", func(t *testing.T) {
		_, err := apptest.New(t, apptest.Home(home)).Client().CreateSecret(t.Context(),
			&secretsmanager.CreateSecretInput{Name: aws.String("s"), SecretString: aws.String("v")})
		if err != nil {
			t.Fatal(err)
		}
	})
	out, err := apptest.New(t, apptest.Home(home)).Client().GetSecretValue(t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(out.SecretString); got != "v" {
		t.Errorf("value = %q, want v", got)
	}
}

func TestAnyCredentials(t *testing.T) {
	s := apptest.New(t, apptest.AnyCredentials)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.1")
	req.Header.Set("X-Amz-Target", "secretsmanager.ListSecrets")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("an unsigned request is answered %s", resp.Status)
	}
}

// Two servers cannot share one folder.
func TestHomeInUse(t *testing.T) {
	home := t.TempDir()
	apptest.New(t, apptest.Home(home))
	d, err := app.OpenDev(t.Context(), app.DevConfig{Home: home, Listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler))
	if err == nil {
		_ = d.Close()
		t.Fatal("a second server opened the same data")
	}
}
