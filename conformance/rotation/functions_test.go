package rotation_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"arca/internal/dbtest"
)

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestPython: a function in the style of AWS's templates rotates a user of PostgreSQL,
// and what it prints stands in the timeline without passwords.
func TestPython(t *testing.T) {
	db := dbtest.PostgreSQL(t)
	k := ownKit(t, "--run-functions")
	addUser(t, db, "app")
	_, secret := k.Secret(k.Caller, "app", db.Secret("app", firstPassword, nil))
	function := k.function("python", k.rotatorRole("python", []string{secret}), withCode(t, types.RuntimePython312, "lambda_function.lambda_handler", nil,
		map[string]string{"lambda_function.py": readFile(t, "testdata/lambda_function.py"), "ca.pem": readFile(t, db.CAFile)}))
	passwords := []string{firstPassword}
	for range 2 {
		k.rotated(secret, k.rotate(secret, by(function)))
		value := k.value(secret, "AWSCURRENT")
		passwords = append(passwords, member(t, value, "password"))
		if err := db.Login(t.Context(), value); err != nil {
			t.Errorf("login after a rotation: %v", err)
		}
	}
	text := k.timeline(secret)
	for _, p := range passwords {
		if strings.Contains(text, p) {
			t.Errorf("the timeline has the password %q", p)
		}
	}
	if !strings.Contains(text, "set the password of") {
		t.Errorf("the timeline has not what the function printed:\n%s", text)
	}
}

// rotatesGeneric rotates a secret without a database twice.
func rotatesGeneric(t *testing.T, k *kit, secret, function string) {
	t.Helper()
	seen := map[string]bool{"first": true}
	for range 2 {
		k.rotated(secret, k.rotate(secret, by(function)))
		value := k.value(secret, "AWSCURRENT")
		if p := member(t, value, "password"); len(p) < 32 || seen[p] || member(t, value, "username") != "app" {
			t.Errorf("value = %q after %v", value, seen)
		} else {
			seen[p] = true
		}
	}
}

const genericValue = `{"username": "app", "password": "first"}`

func TestNode(t *testing.T) {
	node, err := exec.Command("../../scripts/find-node").Output()
	if err != nil || strings.TrimSpace(string(node)) != "/usr/bin/node" {
		t.Skip("the Node.js that functions run on by default is missing or too old")
	}
	files := map[string]string{"index.mjs": readFile(t, "testdata/index.mjs")}
	modules := os.DirFS("../js")
	err = fs.WalkDir(modules, "node_modules", func(path string, d fs.DirEntry, err error) error {
		ext := filepath.Ext(path)
		if err != nil || !d.Type().IsRegular() || ext != ".js" && ext != ".json" && ext != ".mjs" && ext != ".cjs" || strings.Contains(path, "/dist-types/") {
			return err
		}
		text, err := fs.ReadFile(modules, path)
		files[path] = string(text)
		return err
	})
	if err != nil {
		t.Skipf("no modules; scripts/test-deps.sh installs them: %v", err)
	}
	k := ownKit(t, "--run-functions")
	_, secret := k.Secret(k.Caller, "app", genericValue)
	function := k.function("node", k.rotatorRole("node", []string{secret}), withCode(t, types.RuntimeNodejs20x, "index.handler", nil, files))
	rotatesGeneric(t, k, secret, function)
}

func TestGo(t *testing.T) {
	program := filepath.Join(t.TempDir(), "bootstrap")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", program, "./testdata/gofunction")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	k := ownKit(t, "--run-functions")
	_, secret := k.Secret(k.Caller, "app", genericValue)
	function := k.function("go", k.rotatorRole("go", []string{secret}), withCode(t, types.RuntimeProvidedal2023, "bootstrap", nil, map[string]string{"bootstrap": readFile(t, program)}))
	rotatesGeneric(t, k, secret, function)
}

// TestWebhook: whoever gets the event has credentials of his own.
func TestWebhook(t *testing.T) {
	const key = "a secret of both sides"
	var mu sync.Mutex
	var serve func(body []byte) error // guarded by mu
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil && !signed(r.Header.Get("Arca-Signature"), key, body) {
			err = errors.New("the signature is wrong")
		}
		if err == nil {
			mu.Lock()
			defer mu.Unlock()
			err = serve(body)
		}
		if err != nil {
			t.Errorf("%s: %v", body, err)
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	}))
	defer srv.Close()
	ca := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	k := ownKit(t, "--egress-ca-file", ca)
	_, secret := k.Secret(k.Caller, "app", genericValue)
	var steps []string
	mu.Lock()
	serve = func(body []byte) error {
		var e map[string]string
		dec := json.NewDecoder(bytes.NewReader(body))
		dec.DisallowUnknownFields()
		if err := dec.Decode(&e); err != nil {
			return err
		}
		if got := slices.Sorted(maps.Keys(e)); !slices.Equal(got, []string{"ClientRequestToken", "RotationToken", "SecretId", "Step"}) || e["SecretId"] != secret {
			return fmt.Errorf("the event is %v", e)
		}
		steps = append(steps, e["Step"])
		return k.step(e["Step"], secret, e["ClientRequestToken"])
	}
	mu.Unlock()
	function := k.function("hook", k.rotatorRole("hook", []string{secret}), withCode(t, types.RuntimeProvidedal2023, "arca.webhook",
		map[string]string{"URL": srv.URL, "ARCA_WEBHOOK_SECRET": key}, nil))
	rotatesGeneric(t, k, secret, function)
	want := []string{"createSecret", "setSecret", "testSecret", "finishSecret"}
	if !slices.Equal(steps, append(slices.Clip(want), want...)) {
		t.Errorf("steps were %v", steps)
	}
}

// step is what a webhook does, with an administrator's credentials.
func (k *kit) step(step, secret, token string) error {
	switch step {
	case "createSecret":
		_, err := k.SM.PutSecretValue(context.WithoutCancel(k.Ctx()), &secretsmanager.PutSecretValueInput{
			SecretId: &secret, ClientRequestToken: &token, VersionStages: []string{"AWSPENDING"},
			SecretString: aws.String(fmt.Sprintf(`{"username":"app","password":"of version %s"}`, token)),
		})
		return err
	case "finishSecret":
		out, err := k.SM.DescribeSecret(k.Ctx(), &secretsmanager.DescribeSecretInput{SecretId: &secret})
		if err != nil {
			return err
		}
		for version, stages := range out.VersionIdsToStages {
			if slices.Contains(stages, "AWSCURRENT") && version != token {
				_, err = k.SM.UpdateSecretVersionStage(k.Ctx(), &secretsmanager.UpdateSecretVersionStageInput{
					SecretId: &secret, VersionStage: aws.String("AWSCURRENT"), MoveToVersionId: &token, RemoveFromVersionId: &version,
				})
			}
		}
		return err
	}
	return nil
}

// signed verifies a signature as the documentation says.
func signed(header, key string, body []byte) bool {
	values := map[string]string{}
	for part := range strings.SplitSeq(header, ",") {
		name, value, _ := strings.Cut(part, "=")
		values[name] = value
	}
	at, err := strconv.ParseInt(values["t"], 10, 64)
	if err != nil || time.Since(time.Unix(at, 0)).Abs() > 5*time.Minute {
		return false
	}
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "%d.%s", at, body)
	got, err := hex.DecodeString(values["v1"])
	return err == nil && hmac.Equal(got, mac.Sum(nil))
}
