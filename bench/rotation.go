package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"arca/internal/app"
)

// rotations measures what many secrets that fall due at once do to those who read: the
// rate of GetSecretValue before and while they are worked off, and how evenly that goes.
func rotations(ctx context.Context, o options) error {
	home, err := os.MkdirTemp("", "arca-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(home)
	server, err := start(ctx, o.arca, "dev", "--data-dir", home, "--listen", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer server.stop()
	fmt.Printf("%d cores, %s; %d connections read %d secrets, %d others fall due at once\n\n", runtime.NumCPU(), runtime.Version(), o.connections, o.secrets, o.rotate)
	function, err := makeFunction(ctx, server)
	if err != nil {
		return fmt.Errorf("make function: %w", err)
	}
	send := func(operation string, count int, in func(i int) any) ([][]byte, error) {
		var reqs [][]byte
		for i := range count {
			r, err := secretsManager.request(server.addr, operation, in(i))
			if err != nil {
				return nil, err
			}
			reqs = append(reqs, r)
		}
		return reqs, nil
	}
	due := func(i int) string { return "bench/due/" + strconv.Itoa(i) }
	for _, step := range []struct {
		operation string
		count     int
		in        func(i int) any
	}{
		{"CreateSecret", o.secrets, func(i int) any {
			return map[string]string{"Name": "bench/read/" + strconv.Itoa(i), "ClientRequestToken": token(), "SecretString": "a password of ordinary length"}
		}},
		{"CreateSecret", o.rotate, func(i int) any {
			return map[string]string{"Name": due(i), "ClientRequestToken": token(), "SecretString": `{"username":"app","password":"of ordinary length"}`}
		}},
		{"RotateSecret", o.rotate, func(i int) any {
			return map[string]any{
				"SecretId": due(i), "ClientRequestToken": token(), "RotationLambdaARN": function, "RotateImmediately": false,
				"RotationRules": map[string]int{"AutomaticallyAfterDays": 30},
			}
		}},
	} {
		reqs, err := send(step.operation, step.count, step.in)
		if err != nil {
			return err
		}
		if _, err := drive(ctx, server.addr, o.connections, int64(step.count), 0, func(n int64) []byte { return reqs[n] }); err != nil {
			return fmt.Errorf("%s: %w", step.operation, err)
		}
	}
	log := &auditCounter{home: home}
	begin := time.Now()
	for tested := 0; tested < o.rotate; {
		n, err := log.count("TestRotationSucceeded")
		if err != nil {
			return err
		}
		if tested += n; tested < o.rotate && time.Since(begin) > 30*time.Minute {
			return fmt.Errorf("%d of %d functions were tested", tested, o.rotate)
		}
		time.Sleep(200 * time.Millisecond)
	}
	fmt.Printf("tested all functions: %.0f/s\n", float64(o.rotate)/time.Since(begin).Seconds())

	reads, err := send("GetSecretValue", o.secrets, func(i int) any { return map[string]string{"SecretId": "bench/read/" + strconv.Itoa(i)} })
	if err != nil {
		return err
	}
	read := func() (float64, error) {
		begin := time.Now()
		times, err := drive(ctx, server.addr, o.connections, 0, o.length, func(n int64) []byte { return reads[n%int64(len(reads))] })
		return float64(len(times)) / time.Since(begin).Seconds(), err
	}
	if _, err := read(); err != nil { // warm-up
		return err
	}
	var before, during, done []float64
	for range o.rounds {
		rate, err := read()
		if err != nil {
			return err
		}
		before = append(before, rate)
	}
	advance := exec.CommandContext(ctx, o.arca, "dev", "clock", "advance", "31d", "--endpoint", "http://"+server.addr)
	if out, err := advance.CombinedOutput(); err != nil {
		return fmt.Errorf("advance the clock: %w: %s", err, out)
	}
	if _, err := log.count("RotationSucceeded"); err != nil {
		return err
	}
	for range o.rounds {
		begin := time.Now()
		rate, err := read()
		if err != nil {
			return err
		}
		n, err := log.count("RotationSucceeded")
		if err != nil {
			return err
		}
		during = append(during, rate)
		done = append(done, float64(n)/time.Since(begin).Seconds())
	}
	middle := func(list []float64) float64 { return slices.Sorted(slices.Values(list))[len(list)/2] }
	fmt.Printf("GetSecretValue before: %.0f/s, while secrets are rotated: %.0f/s; ratio %.2f (aim 0.90)\n", middle(before), middle(during), middle(during)/middle(before))
	fmt.Printf("rotations: %.1f/s, from %.1f to %.1f in a round of %v; all %d in about %v\n", middle(done), slices.Min(done), slices.Max(done), o.length,
		o.rotate, time.Duration(float64(o.rotate)/max(0.1, middle(done))*float64(time.Second)).Round(time.Second))
	return nil
}

// makeFunction makes a built-in function that needs no database.
func makeFunction(ctx context.Context, p *process) (arn string, err error) {
	cfg := aws.Config{
		Region: region, BaseEndpoint: aws.String("http://" + p.addr),
		Credentials: credentials.NewStaticCredentialsProvider(app.DevAccessKeyID, app.DevSecretAccessKey, ""),
	}
	role, err := iam.NewFromConfig(cfg).CreateRole(ctx, &iam.CreateRoleInput{
		RoleName:                 aws.String("rotator"),
		AssumeRolePolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"lambda.amazonaws.com"},"Action":"sts:AssumeRole"}}`),
	})
	if err != nil {
		return "", err
	}
	_, err = iam.NewFromConfig(cfg).PutRolePolicy(ctx, &iam.PutRolePolicyInput{
		RoleName: aws.String("rotator"), PolicyName: aws.String("rotate"),
		PolicyDocument: aws.String(`{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"secretsmanager:*","Resource":"*"}}`),
	})
	if err != nil {
		return "", err
	}
	functions := lambda.NewFromConfig(cfg)
	made, err := functions.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: aws.String("generic"), Role: role.Role.Arn, Runtime: types.RuntimeProvidedal2023,
		Handler: aws.String("arca.builtin/SecretsManagerGenericRotation"), Code: &types.FunctionCode{},
	})
	if err != nil {
		return "", err
	}
	_, err = functions.AddPermission(ctx, &lambda.AddPermissionInput{
		FunctionName: aws.String("generic"), StatementId: aws.String("rotation"), Action: aws.String("lambda:InvokeFunction"), Principal: aws.String("secretsmanager.amazonaws.com"),
	})
	return aws.ToString(made.FunctionArn), err
}

// auditCounter counts events in the audit log of a server as they are written.
type auditCounter struct {
	home string
	read map[string]int64 // bytes, by file
}

// count is how many events of a name there are that were not looked at before. Other
// events are passed over.
func (a *auditCounter) count(name string) (n int, err error) {
	if a.read == nil {
		a.read = make(map[string]int64)
	}
	files, err := filepath.Glob(filepath.Join(a.home, "data", "audit", "*", "*.jsonl"))
	if err != nil {
		return 0, err
	}
	for _, path := range files {
		more, err := a.countIn(path, name)
		if err != nil {
			return 0, err
		}
		n += more
	}
	return n, nil
}

func (a *auditCounter) countIn(path, name string) (n int, err error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	if _, err := f.Seek(a.read[path], io.SeekStart); err != nil {
		return 0, err
	}
	lines := bufio.NewReaderSize(f, 1<<20)
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return n, nil // what has no end yet is read the next time
		}
		if err != nil {
			return 0, err
		}
		a.read[path] += int64(len(line))
		var e struct{ EventName string }
		if err := json.Unmarshal(line, &e); err != nil {
			return 0, fmt.Errorf("read %s: %w", path, err)
		}
		if e.EventName == name {
			n++
		}
	}
}
