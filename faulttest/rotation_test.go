package faulttest

import (
	"archive/zip"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"

	"arca/internal/dbtest"
)

const (
	rotated = "rotated" // the name of the secret in these tests
	// rotationPatience is for machines that run many tests at once.
	rotationPatience = 90 * time.Second
)

// rotating is a server with a secret of a PostgreSQL user, and a function that rotates
// it. The server lives again and again on the same data.
type rotating struct {
	t    *testing.T
	db   *dbtest.Server
	home string

	*process
	sm       *secretsmanager.Client
	function string
}

func newRotating(t *testing.T) *rotating {
	r := &rotating{t: t, db: dbtest.PostgreSQL(t), home: t.TempDir()}
	if _, err := r.db.PostgreSQL(t, "postgres").Exec(t.Context(), "CREATE ROLE app LOGIN PASSWORD 'first-password'"); err != nil {
		t.Fatal(err)
	}
	r.live()
	return r
}

// in makes failures those of a subtest until it ends.
func (r *rotating) in(t *testing.T) {
	whole := r.t
	r.t = t
	t.Cleanup(func() { r.t = whole })
}

// live starts the server.
func (r *rotating) live() {
	r.t.Helper()
	r.process = start(r.t, nil, "dev", "--data-dir", r.home, "--listen", "127.0.0.1:0", "--run-functions", "--egress-ca-file", r.db.CAFile)
	r.sm = client(r.url, "test", "test")
}

// end requires that the last life ends well and has left good data.
func (r *rotating) end() {
	r.t.Helper()
	r.stop()
	fsck(r.t, nil, "--data-dir", r.home)
}

func (r *rotating) secret(name, value string) (arn string) {
	r.t.Helper()
	out, err := r.sm.CreateSecret(r.t.Context(), &secretsmanager.CreateSecretInput{Name: &name, SecretString: &value})
	if err != nil {
		r.t.Fatal(err)
	}
	return aws.ToString(out.ARN)
}

// addFunction makes the function, with a role of its own.
func (r *rotating) addFunction(runtime lambdatypes.Runtime, handler string, code []byte, env map[string]string) {
	r.t.Helper()
	ctx := r.t.Context()
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &r.url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	role, err := iam.NewFromConfig(cfg).CreateRole(ctx, &iam.CreateRoleInput{
		RoleName:                 aws.String("rotator"),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}`),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = iam.NewFromConfig(cfg).PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String("rotator"), PolicyName: aws.String("rotate"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Resource":"*","Action":["secretsmanager:DescribeSecret",
			"secretsmanager:GetSecretValue","secretsmanager:PutSecretValue","secretsmanager:UpdateSecretVersionStage","secretsmanager:GetRandomPassword"]}}`),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	functions := lambda.NewFromConfig(cfg)
	made, err := functions.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("rotate"), Role: role.Role.Arn, Runtime: runtime, Handler: &handler, Timeout: aws.Int32(20), MemorySize: aws.Int32(256),
		Code: &lambdatypes.FunctionCode{ZipFile: code}, Environment: &lambdatypes.Environment{Variables: env},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	_, err = functions.AddPermission(ctx, &lambda.AddPermissionInput{
		FunctionName: aws.String("rotate"), StatementId: aws.String("rotation"), Action: aws.String("lambda:InvokeFunction"),
		Principal: aws.String("secretsmanager.amazonaws.com"),
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.function = aws.ToString(made.FunctionArn)
}

// setTimeout is how many seconds the function has.
func (r *rotating) setTimeout(seconds int32) {
	r.t.Helper()
	cfg := aws.Config{Region: "us-east-1", BaseEndpoint: &r.url, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
	_, err := lambda.NewFromConfig(cfg).UpdateFunctionConfiguration(r.t.Context(), &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("rotate"), Timeout: &seconds})
	if err != nil {
		r.t.Fatal(err)
	}
}

// rotate begins a rotation.
func (r *rotating) rotate() (version string) {
	r.t.Helper()
	out, err := r.sm.RotateSecret(r.t.Context(), &secretsmanager.RotateSecretInput{
		SecretId: aws.String(rotated), RotationLambdaARN: &r.function, RotationRules: &types.RotationRulesType{AutomaticallyAfterDays: aws.Int64(30)},
	})
	if err != nil {
		r.t.Fatalf("RotateSecret: %v\n%s", err, r.log())
	}
	return aws.ToString(out.VersionId)
}

// labels are the labels of a version.
func (r *rotating) labels(version string) (list []string, err error) {
	out, err := r.sm.DescribeSecret(r.t.Context(), &secretsmanager.DescribeSecretInput{SecretId: aws.String(rotated)})
	if err != nil {
		return nil, err
	}
	return out.VersionIdsToStages[version], nil
}

// shown is what `arca rotation show` says.
type shown struct {
	Summary struct {
		State, Step, LastError string
		Failures               int
	}
	Current   *shownRotation
	Rotations []shownRotation // the latest first
}

type shownRotation struct {
	VersionID string `json:"VersionId"`
	Outcome   string
	Steps     []struct{ Step, Error, Output string }
}

func (r *rotating) show() (s shown) {
	r.t.Helper()
	out := r.must("rotation", "show", rotated, "--all", "--output", "json")
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		r.t.Fatalf("arca rotation show wrote %q: %v", out, err)
	}
	return s
}

// soon waits until a check holds.
func (r *rotating) soon(what string, check func() error) {
	r.t.Helper()
	deadline := time.Now().Add(rotationPatience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("waited in vain for: %s: %v\n%s\n%s", what, err, r.must("rotation", "show", rotated), r.log())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// await waits until something happens in the function.
func (r *rotating) await(happened <-chan struct{}) {
	r.t.Helper()
	select {
	case <-happened:
	case <-time.After(rotationPatience):
		r.t.Fatalf("the function never came there\n%s\n%s", r.must("rotation", "show", rotated, "--all"), r.log())
	}
}

// complete waits until a version is current and its rotation over, and requires that
// the database agrees.
func (r *rotating) complete(version string) {
	r.t.Helper()
	r.soon("the rotation completes", func() error {
		labels, err := r.labels(version)
		if err != nil || !slices.Contains(labels, "AWSCURRENT") {
			return fmt.Errorf("version %s is %v, %w", version, labels, err)
		}
		if s := r.show(); s.Current != nil {
			return fmt.Errorf("the rotation is %s", s.Summary.State)
		}
		return nil
	})
	r.agree()
}

// agree requires that the value of AWSCURRENT lets in.
func (r *rotating) agree() {
	r.t.Helper()
	if err := r.db.Login(r.t.Context(), r.current()); err != nil {
		r.t.Errorf("database and AWSCURRENT do not agree: %v\n%s", err, r.must("rotation", "show", rotated, "--all"))
	}
}

func (r *rotating) current() string {
	r.t.Helper()
	out, err := r.sm.GetSecretValue(r.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(rotated)})
	if err != nil {
		r.t.Fatal(err)
	}
	return aws.ToString(out.SecretString)
}

// retry makes a step that has failed due.
func (r *rotating) retry() { r.t.Helper(); r.must("dev", "clock", "advance", "2h") }

// asked is what the hooked function says it is about to do.
type asked struct{ Step, SecretID, ClientRequestToken, RotationToken, At string }

// hook answers a hooked function.
type hook struct {
	URL string

	mu   sync.Mutex
	told func(asked) string // guarded by mu; nil says go
}

func newHook(t *testing.T) *hook {
	h := &hook{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var a asked
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &a)
		}
		if err != nil {
			t.Errorf("the function asked %q: %v", body, err)
		}
		h.mu.Lock()
		told := h.told
		h.mu.Unlock()
		answer := "go"
		if told != nil {
			answer = told(a)
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(srv.Close)
	h.URL = srv.URL
	return h
}

// set replaces what the function is told.
func (h *hook) set(told func(asked) string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.told = told
}

// once tells the function something the first time that it asks at a place.
func (h *hook) once(step, at string, tell func(asked) string) (happened <-chan struct{}) {
	done := make(chan struct{})
	var first sync.Once
	h.set(func(a asked) (answer string) {
		answer = "go"
		if a.Step == step && a.At == at {
			first.Do(func() {
				answer = tell(a)
				close(done)
			})
		}
		return answer
	})
	return done
}

// hooked is a rotating server whose function is the one of Python that the conformance
// tests use, with hooks.
func hooked(t *testing.T) (*rotating, *hook) {
	t.Helper()
	r, h := newRotating(t), newHook(t)
	r.secret(rotated, r.db.Secret("app", "first-password", nil))
	files := map[string]string{
		"lambda_function.py": "../conformance/rotation/testdata/lambda_function.py", "hooked.py": "testdata/hooked.py", "ca.pem": r.db.CAFile,
	}
	var code bytes.Buffer
	w := zip.NewWriter(&code)
	for name, path := range files {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		header := &zip.FileHeader{Name: name, Method: zip.Deflate}
		header.SetMode(fs.FileMode(0o644))
		f, err := w.CreateHeader(header)
		if err == nil {
			_, err = f.Write(text)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r.addFunction(lambdatypes.RuntimePython312, "hooked.lambda_handler", code.Bytes(), map[string]string{"HOOK": h.URL})
	return r, h
}

// during is where in a step the function has done what the step is for.
var during = map[string]string{
	"createSecret": "PutSecretValue", "setSecret": "changed", "testSecret": "GetSecretValue", "finishSecret": "UpdateSecretVersionStage",
}

var rotationSteps = []string{"createSecret", "setSecret", "testSecret", "finishSecret"}

// TestKillDuringRotation kills the server before, during and after the call of the
// function for each step of a rotation. After the restart the rotation completes by
// itself, and the database takes the password that AWSCURRENT names.
func TestKillDuringRotation(t *testing.T) {
	r, h := hooked(t)
	r.complete(r.rotate())
	kills := 0
	for i, step := range rotationSteps {
		for j, at := range []string{"before", during[step], "after"} {
			if !*long && at != during[step] && (i+j)%2 != 0 {
				continue
			}
			kill := func(asked) string { r.kill(); return "go" }
			if at == "after" {
				// The answer is on its way to the server.
				kill = func(asked) string {
					time.AfterFunc(time.Duration(i)*3*time.Millisecond, r.kill)
					return "go"
				}
			}
			happened := h.once(step, at, kill)
			version := r.rotate()
			r.await(happened)
			<-r.ended
			kills++
			r.live()
			r.complete(version)
			if t.Failed() {
				t.Fatalf("after a kill in %s, %s", step, at)
			}
		}
	}
	h.set(nil)
	// Before anything was called.
	version := r.rotate()
	r.kill()
	r.live()
	r.complete(version)
	r.end()
	t.Logf("%d kills", kills+1)
}

// pieces passes connections on to a database and calls before or after the server gets
// the nth piece that clients send.
type pieces struct {
	port int

	mu    sync.Mutex
	count int                          // guarded by mu
	watch func(count int, before bool) // guarded by mu; nil for nobody
}

func newPieces(t *testing.T, db *dbtest.Server) *pieces {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &pieces{port: l.Addr().(*net.TCPAddr).Port}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { p.serve(c, net.JoinHostPort(db.Host, strconv.Itoa(db.Port))) })
		}
	})
	t.Cleanup(func() { _ = l.Close() })
	return p
}

func (p *pieces) serve(from net.Conn, target string) {
	defer from.Close()
	to, err := net.Dial("tcp", target)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := from.Read(buf)
		if n > 0 {
			p.mu.Lock()
			p.count++
			count, watch := p.count, p.watch
			p.mu.Unlock()
			if watch != nil {
				watch(count, true)
			}
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
			if watch != nil {
				watch(count, false)
			}
		}
		if err != nil {
			return
		}
	}
}

// set counts from 0 again.
func (p *pieces) set(watch func(count int, before bool)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count, p.watch = 0, watch
}

// TestKillWhileUsersAlternate kills the server at many moments of what a built-in
// function says to the database. A client that uses the value of AWSCURRENT that it read
// last is never refused, whether the server is there or not.
func TestKillWhileUsersAlternate(t *testing.T) {
	r := newRotating(t)
	proxy := newPieces(t, r.db)
	through := map[string]any{"port": proxy.port}
	master := r.secret("master", r.db.Secret(r.db.User, r.db.Password, through))
	members := map[string]any{"masterarn": master}
	maps.Copy(members, through)
	r.secret(rotated, r.db.Secret("app", "first-password", members))
	r.addFunction(lambdatypes.RuntimeProvidedal2023, "arca.builtin/SecretsManagerRDSPostgreSQLRotationMultiUser", nil, nil)
	for range 2 { // both users are there
		proxy.set(nil)
		r.complete(r.rotate())
	}
	proxy.mu.Lock()
	whole := proxy.count
	proxy.mu.Unlock()

	var mu sync.Mutex
	held, url := r.current(), r.url // guarded by mu
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var reader sync.WaitGroup
	logins := 0
	reader.Go(func() {
		for ctx.Err() == nil {
			mu.Lock()
			sm := client(url, "test", "test")
			mu.Unlock()
			if out, err := sm.GetSecretValue(ctx, &secretsmanager.GetSecretValueInput{SecretId: aws.String(rotated)}); err == nil {
				mu.Lock()
				held = aws.ToString(out.SecretString)
				mu.Unlock()
			}
			mu.Lock()
			value := held
			mu.Unlock()
			if err := r.db.Login(context.WithoutCancel(ctx), value); err != nil {
				t.Errorf("the value of AWSCURRENT does not let in: %v", err)
				return
			}
			logins++
			time.Sleep(5 * time.Millisecond)
		}
	})
	kills := 6
	if *long {
		kills = 2 * whole
	}
	for i := range kills {
		at, before := 1+i*whole/kills, i%2 == 0
		happened := make(chan struct{})
		var once sync.Once
		proxy.set(func(count int, ahead bool) {
			if count >= at && ahead == before {
				once.Do(func() {
					r.kill()
					close(happened)
				})
			}
		})
		version := r.rotate()
		select {
		case <-happened:
		case <-time.After(rotationPatience):
			t.Fatalf("no piece %d of %d", at, whole)
		}
		proxy.set(nil)
		r.live()
		mu.Lock()
		url = r.url
		mu.Unlock()
		r.complete(version)
		if t.Failed() {
			t.Fatalf("after a kill at piece %d of %d", at, whole)
		}
	}
	stop()
	reader.Wait()
	r.end()
	t.Logf("%d kills over %d pieces, %d logins", kills, whole, logins)
}

// TestRotationFaults: functions that fail in all ways, and a rotation that completes
// once they do not.
func TestRotationFaults(t *testing.T) {
	r, h := hooked(t)
	r.complete(r.rotate())
	// failing is the end of one try: what the timeline says of it.
	failing := func(step string) (lastError, output string) {
		r.t.Helper()
		var s shown
		r.soon("the failure of "+step, func() error {
			if s = r.show(); s.Summary.State != "failing" || s.Summary.Step != step {
				return fmt.Errorf("the rotation is %s in %s", s.Summary.State, s.Summary.Step)
			}
			return nil
		})
		r.agreeUnlessIn(step)
		last := s.Current.Steps[len(s.Current.Steps)-1]
		if want := "Error when executing lambda " + r.function + " during " + step + " step"; last.Error != want {
			r.t.Errorf("error = %q, want %q", last.Error, want)
		}
		return s.Summary.LastError, last.Output
	}
	for _, tc := range []struct {
		name, step, at, tell string
		output               string // part of what the timeline has
	}{
		{"an error", "setSecret", "before", "error", "ValueError: told to fail"},
		{"an error after its work", "setSecret", "changed", "error", "ValueError: told to fail"},
		{"an error in finishSecret before its work", "finishSecret", "before", "error", "told to fail"},
		{"a crash", "createSecret", "PutSecretValue", "crash", "Runtime.ExitError"},
		{"a crash after the password is set", "setSecret", "changed", "crash", "Runtime.ExitError"},
		{"no move of the label", "finishSecret", "before", "skip", "AWSCURRENT"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r.in(t)
			happened := h.once(tc.step, tc.at, func(asked) string { return tc.tell })
			version := r.rotate()
			r.await(happened)
			if _, output := failing(tc.step); !strings.Contains(output, tc.output) {
				t.Errorf("output = %q, want %q in it", output, tc.output)
			}
			_, err := r.sm.RotateSecret(t.Context(), &secretsmanager.RotateSecretInput{SecretId: aws.String(rotated)})
			if err == nil || !strings.Contains(err.Error(), "A previous rotation isn't complete. That rotation will be reattempted.") {
				t.Errorf("RotateSecret after a failure: %v", err)
			}
			r.retry()
			r.complete(version)
		})
	}
	t.Run("a megabyte of output", func(t *testing.T) {
		r.in(t)
		h.once("testSecret", "before", func(asked) string { return "print" })
		version := r.rotate()
		r.complete(version)
		for _, s := range r.show().Rotations[0].Steps {
			if len(s.Output) > 16<<10 || s.Step == "testSecret" && !strings.Contains(s.Output, "last line") {
				t.Errorf("%s has %d bytes of output, ending in %q", s.Step, len(s.Output), s.Output[max(0, len(s.Output)-80):])
			}
		}
	})
	t.Run("an error after the label was moved", func(t *testing.T) {
		r.in(t)
		happened := h.once("finishSecret", "UpdateSecretVersionStage", func(asked) string { return "error" })
		version := r.rotate()
		r.await(happened)
		failing("finishSecret")
		r.retry()
		r.complete(version)
	})
	t.Run("a timeout, and a call that comes late", func(t *testing.T) {
		r.in(t)
		r.setTimeout(3)
		var late asked
		happened := h.once("createSecret", "PutSecretValue", func(a asked) string { late = a; return "hang" })
		version := r.rotate()
		r.await(happened)
		if _, output := failing("createSecret"); !strings.Contains(output, "Task timed out after 3.00 seconds") {
			t.Errorf("output = %q", output)
		}
		r.setTimeout(20)
		r.retry()
		r.complete(version)
		put := func(rotationToken *string) error {
			_, err := r.sm.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{
				SecretId: aws.String(rotated), ClientRequestToken: &late.ClientRequestToken, RotationToken: rotationToken,
				SecretString: aws.String("late"), VersionStages: []string{"AWSPENDING"},
			})
			return err
		}
		// The token ended with its rotation, and the version keeps its value.
		if err := put(&late.RotationToken); err == nil || !strings.Contains(err.Error(), "RotationToken") {
			t.Errorf("a late PutSecretValue: %v, want a refusal of its RotationToken", err)
		}
		var exists *types.ResourceExistsException
		if err := put(nil); !asError(err, &exists) {
			t.Errorf("a late PutSecretValue: %v, want ResourceExistsException", err)
		}
		r.agree()
	})
	t.Run("a value by hand in the middle", func(t *testing.T) {
		r.in(t)
		before := r.current()
		var putErr error
		happened := h.once("setSecret", "before", func(asked) string {
			_, putErr = r.sm.PutSecretValue(t.Context(), &secretsmanager.PutSecretValueInput{SecretId: aws.String(rotated), SecretString: &before})
			return "go"
		})
		version := r.rotate()
		r.await(happened)
		if putErr != nil {
			t.Fatal(putErr)
		}
		r.soon("the rotation is abandoned", func() error {
			if s := r.show(); s.Current != nil || s.Rotations[0].Outcome != "abandoned" || s.Rotations[0].VersionID != version {
				return fmt.Errorf("the rotation is %s", s.Summary.State)
			}
			return nil
		})
		r.agree()
		h.set(nil)
		r.complete(r.rotate())
	})
	t.Run("a server that was paused in the middle", func(t *testing.T) {
		r.in(t)
		happened := h.once("setSecret", "changed", func(asked) string {
			_ = r.cmd.Process.Signal(syscall.SIGSTOP)
			time.AfterFunc(2*time.Second, func() { _ = r.cmd.Process.Signal(syscall.SIGCONT) })
			return "go"
		})
		version := r.rotate()
		r.await(happened)
		time.Sleep(2100 * time.Millisecond)
		r.complete(version)
	})
	r.end()
}

// agreeUnlessIn requires that AWSCURRENT lets in, except after a setSecret of a single
// user that may have been done: there AWSPENDING does.
func (r *rotating) agreeUnlessIn(step string) {
	r.t.Helper()
	if step == "createSecret" || r.db.Login(r.t.Context(), r.current()) == nil {
		if step == "createSecret" {
			r.agree()
		}
		return
	}
	out, err := r.sm.GetSecretValue(r.t.Context(), &secretsmanager.GetSecretValueInput{SecretId: aws.String(rotated), VersionStage: aws.String("AWSPENDING")})
	if err != nil {
		r.t.Errorf("neither AWSCURRENT lets in nor is there AWSPENDING: %v", err)
		return
	}
	if err := r.db.Login(r.t.Context(), aws.ToString(out.SecretString)); err != nil {
		r.t.Errorf("neither AWSCURRENT nor AWSPENDING lets in: %v", err)
	}
}

// TestDatabaseGoesAway: the database is not there in setSecret, and comes back.
func TestDatabaseGoesAway(t *testing.T) {
	r := newRotating(t)
	proxy := dbtest.NewProxy(t, r.db)
	r.secret(rotated, r.db.Secret("app", "first-password", map[string]any{"port": proxy.Port}))
	r.addFunction(lambdatypes.RuntimeProvidedal2023, "arca.builtin/SecretsManagerRDSPostgreSQLRotationSingleUser", nil, nil)
	proxy.Down(true)
	version := r.rotate()
	for range 2 {
		r.soon("a failure of setSecret", func() error {
			if s := r.show(); s.Summary.State != "failing" || s.Summary.Step != "setSecret" {
				return fmt.Errorf("the rotation is %s in %s", s.Summary.State, s.Summary.Step)
			}
			return nil
		})
		r.agree()
		r.retry()
	}
	proxy.Down(false)
	r.soon("the rotation goes on", func() error {
		// While a step is running, or when all is done, there is nothing to try again.
		_, err := r.command(r.t.Context(), "rotation", "retry", rotated)
		if labels, lerr := r.labels(version); lerr == nil && slices.Contains(labels, "AWSCURRENT") {
			return nil
		}
		return err
	})
	r.complete(version)
	// In the middle of what it says.
	for n := 2; n < 12; n += 3 {
		proxy.CutAt(n, dbtest.After)
		version := r.rotate()
		r.soon("the connection breaks", func() error {
			if !proxy.Happened() {
				return fmt.Errorf("%d pieces were not sent", n)
			}
			return nil
		})
		r.soon("the rotation goes on", func() error {
			labels, err := r.labels(version)
			if err == nil && slices.Contains(labels, "AWSCURRENT") {
				return nil
			}
			r.retry()
			return fmt.Errorf("version %s is %v, %w", version, labels, err)
		})
		r.complete(version)
	}
	r.end()
}
