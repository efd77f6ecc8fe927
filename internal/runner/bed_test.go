package runner_test

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"arca/internal/lambda"
	"arca/internal/runner"
)

// helperCommand makes this test program the helper, as the arca command is for a server.
const helperCommand = "function-process"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == helperCommand {
		if err := runner.Helper(os.Args[2:]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 4 && os.Args[1] == hostCommand {
		archive, err := os.ReadFile(os.Args[3])
		if err == nil {
			err = host(os.Args[2], archive)
		}
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// bed is a runner with functions.
type bed struct {
	*runner.Process
	t   *testing.T
	dir string
	n   int
}

// newBed starts a runner. change may change its configuration.
func newBed(t *testing.T, change func(*runner.ProcessConfig)) *bed {
	t.Helper()
	// Not t.TempDir: processes under other user ids must be able to enter.
	dir, err := os.MkdirTemp("", "arca-runner-test-")
	if err != nil {
		t.Fatal(err)
	}
	b := &bed{t: t, dir: dir}
	cfg := runner.ProcessConfig{
		Dir: dir, Command: []string{"arca", helperCommand}, Logger: newBedLogger(),
		Endpoint: func() runner.Endpoint { return runner.Endpoint{URL: "http://127.0.0.1:1"} },
		// Machines that run tests can be slow.
		StartTime: time.Minute, BusyTime: time.Minute,
	}
	if change != nil {
		change(&cfg)
	}
	if b.Process, err = runner.NewProcess(cfg); err != nil && strings.Contains(err.Error(), "CAP_SETUID") {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Errorf("Close = %v", err)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return b
}

// files are the contents of an archive by name; a name that ends in ! is executable.
type files map[string]string

func zipped(t *testing.T, in files) []byte {
	t.Helper()
	var buf bytes.Buffer
	w := zip.NewWriter(&buf)
	for name, text := range in {
		name, program := strings.CutSuffix(name, "!")
		h := &zip.FileHeader{Name: name, Method: zip.Deflate}
		h.SetMode(0o644)
		if program {
			h.SetMode(0o755)
		}
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// function is a function with its code.
type function struct {
	lambda.Function
	archive []byte
	env     map[string]string
}

// function makes a function. change may change it before it is used.
func (b *bed) function(runtime, handler string, code files, change func(*function)) *function {
	b.t.Helper()
	b.n++
	f := newFunction(runtime, handler, zipped(b.t, code))
	f.Name = fmt.Sprintf("fn-%d", b.n)
	_, _ = rand.Read(f.UID[:])
	if change != nil {
		change(f)
	}
	return f
}

func python(b *bed, code string) *function {
	return b.function("python3.11", "lambda_function.lambda_handler", files{"lambda_function.py": code}, nil)
}

func (f *function) invocation(payload string) *lambda.Invocation {
	var id [8]byte
	_, _ = rand.Read(id[:])
	return &lambda.Invocation{
		Function: &f.Function, Environment: f.env, Payload: []byte(payload), RequestID: fmt.Sprintf("%x", id), Now: time.Now(),
		Deadline: time.Now().Add(f.MaxDuration()),
		Code:     func(context.Context) ([]byte, error) { return f.archive, nil },
		Credentials: func(_ context.Context, lifetime time.Duration) (*lambda.Credentials, error) {
			return &lambda.Credentials{
				AccessKeyID: "ASIATEST", SecretAccessKey: "secret-of-the-role", SessionToken: "token-of-the-role",
				Expires: time.Now().Add(lifetime),
			}, nil
		},
	}
}

func (b *bed) invoke(f *function, payload string) *lambda.Result {
	b.t.Helper()
	res, err := b.Invoke(b.t.Context(), f.invocation(payload))
	if err != nil {
		b.t.Fatalf("Invoke = %v", err)
	}
	return res
}

// answer invokes a function that is expected to succeed and decodes what it answers.
func answer[T any](b *bed, f *function, payload string) (v T) {
	b.t.Helper()
	res := b.invoke(f, payload)
	if res.FunctionError != "" {
		b.t.Fatalf("function failed: %s\n%s", res.Payload, res.Log)
	}
	if err := json.Unmarshal(res.Payload, &v); err != nil {
		b.t.Fatalf("answer %s: %v", res.Payload, err)
	}
	return v
}

// failure is what a function or its runtime says about its failure.
type failure struct {
	ErrorType    string   `json:"errorType"`
	ErrorMessage string   `json:"errorMessage"`
	StackTrace   []any    `json:"stackTrace"`
	Trace        []string `json:"trace"`
}

// fail invokes a function that is expected to fail.
func (b *bed) fail(f *function, payload string) (failure, *lambda.Result) {
	b.t.Helper()
	res := b.invoke(f, payload)
	if res.FunctionError != lambda.Unhandled {
		b.t.Fatalf("FunctionError = %q, want %q; payload %s\n%s", res.FunctionError, lambda.Unhandled, res.Payload, res.Log)
	}
	var v failure
	if err := json.Unmarshal(res.Payload, &v); err != nil {
		b.t.Fatalf("failure %s: %v", res.Payload, err)
	}
	return v, res
}

func sum(archive []byte) [sha256.Size]byte { return sha256.Sum256(archive) }

func newBedLogger() *slog.Logger { return slog.New(slog.DiscardHandler) }
