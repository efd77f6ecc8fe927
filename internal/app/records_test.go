package app_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
	"arca/internal/app"
	"arca/internal/audit"
	"arca/internal/audittest"
	"arca/internal/call"
	"arca/internal/iam"
)

// hiddenText is in every sensitive member of what the tests send.
const hiddenText = "HIDDENTEXTHIDDENTEXTHIDDENTEXT"

// filled is an input of an operation with all its members, or the required ones alone.
func filled(op *api.Operation, all bool) any {
	in := reflect.New(op.Input.Type)
	fill(op.Input, in.Elem(), all, 0)
	return in.Interface()
}

func fill(sh *api.Shape, v reflect.Value, all bool, depth int) {
	for v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	switch sh.Kind {
	case api.Structure:
		for i := range sh.Fields {
			if f := &sh.Fields[i]; (all || f.Required) && depth < 4 {
				fill(f.Shape, v.Field(f.Index), all, depth+1)
			}
		}
	case api.List:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		fill(sh.Elem, v.Index(0), all, depth+1)
	case api.Map:
		v.Set(reflect.MakeMap(v.Type()))
		value := reflect.New(v.Type().Elem()).Elem()
		fill(sh.Elem, value, all, depth+1)
		v.SetMapIndex(reflect.ValueOf("key").Convert(v.Type().Key()), value)
	case api.String:
		switch {
		case sh.Sensitive:
			v.SetString(hiddenText)
		case len(sh.Enum) > 0:
			v.SetString(sh.Enum[0])
		default:
			v.SetString("text")
		}
	case api.Blob:
		v.SetBytes([]byte(hiddenText))
		if !sh.Sensitive {
			v.SetBytes([]byte("bytes"))
		}
	case api.Boolean:
		v.SetBool(true)
	case api.Integer, api.Long:
		v.SetInt(1)
	case api.Timestamp:
		v.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)))
	}
}

// TestRecordOfEveryOperation calls every operation of every service, by somebody who
// may do nothing and by the root of the account, with all that can be sent and with
// little. Each leaves a record of CloudTrail's form, and what is sensitive in none.
func TestRecordOfEveryOperation(t *testing.T) {
	cfg := serverConfig(t)
	a, err := app.OpenServer(t.Context(), cfg, app.ServerSecrets{}, discard)
	if err != nil {
		t.Fatal(err)
	}
	services := []*api.Service{
		smapi.Service, kmsapi.Service, iamapi.Service, stsapi.Service, lambdaapi.Service, arcaapi.Service,
		cloudtrailapi.Service,
	}
	root := iam.RootPrincipal(loadCredentials(t, cfg.CredentialsFile).AccountID, "AKIAROOT")
	session := root
	session.Session = &call.Session{IssuerType: "Root", IssuerID: root.Account, IssuerARN: root.ARN, Issued: time.Now()}
	callers := map[string]call.Principal{
		"root": root,
		"user": {
			Type: call.IAMUser, Account: root.Account, ID: "AIDANOBODY", UniqueID: "AIDANOBODY",
			ARN: "arn:aws:iam::" + root.Account + ":user/nobody", UserName: "nobody", AccessKeyID: "AKIANOBODY",
		},
		"session": session,
		"role": {
			Type: call.AssumedRole, Account: root.Account, ID: "AROANOBODY:s", UniqueID: "AROANOBODY",
			ARN: "arn:aws:sts::" + root.Account + ":assumed-role/nobody/s", AccessKeyID: "ASIANOBODY",
			Session: &call.Session{
				IssuerType: "Role", IssuerID: "AROANOBODY", IssuerARN: "arn:aws:iam::" + root.Account + ":role/nobody",
				IssuerName: "nobody", Name: "s", Issued: time.Now(), SourceIdentity: "somebody",
			},
		},
	}
	type asked struct {
		op     *api.Operation
		caller string
		err    error
	}
	sent := make(map[string]asked)
	d := app.Dispatcher(a)
	for _, svc := range services {
		for _, op := range svc.Operations {
			if !d.Serves(op) {
				continue
			}
			for name, caller := range callers {
				for _, all := range []bool{false, true} {
					id := fmt.Sprintf("%08x-0000-4000-8000-000000000000", len(sent)+1)
					c := &call.Call{
						Op: op, Now: time.Now(), Caller: caller, Partition: "aws", Region: "us-east-1", RequestID: id,
						SourceIP: "192.0.2.1", UserAgent: "test", Host: "arca.example", Secure: true,
						TLS: &call.TLS{Version: "TLSv1.3", CipherSuite: "TLS_AES_128_GCM_SHA256"},
					}
					ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
					_, err := d.Do(ctx, c, filled(op, all))
					cancel()
					sent[id] = asked{op, name, err}
				}
			}
		}
	}

	found := make(map[string]int)
	granted, denied := make(map[string]bool), make(map[string]bool)
	dirs, err := filepath.Glob(filepath.Join(cfg.AuditDir, "*"))
	if err != nil || len(dirs) != 1 {
		t.Fatalf("log directories %q, %v", dirs, err)
	}
	err = audit.Scan(t.Context(), dirs[0], 0, func(_ uint64, line []byte) error {
		for _, problem := range audittest.Shape(line, services...) {
			t.Errorf("%s\n\t%s", problem, line)
		}
		if bytes.Contains(line, []byte(hiddenText)) {
			t.Errorf("a sensitive member is in the log: %s", line)
		}
		id := requestID(line)
		if want, ok := sent[id]; ok && bytes.Contains(line, []byte(`"AwsApiCall"`)) {
			found[id]++
			failed := bytes.Contains(line, []byte(`"errorCode":`))
			if failed != (want.err != nil) {
				t.Errorf("%s by %s: %v, and the record is %s", want.op.Name, want.caller, want.err, line)
			}
			if bytes.Contains(line, []byte(`"denied":{"action"`)) {
				denied[want.op.Name] = true
			} else if !failed {
				granted[want.op.Name] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range sent {
		if found[id] == 0 && !omits(want.op, want.err) {
			t.Errorf("%s by %s has no record (%v)", want.op.Name, want.caller, want.err)
		}
	}
	t.Logf("%d calls of %d operations granted, %d denied", len(sent), len(granted), len(denied))
	if len(granted) < 20 || len(denied) < 100 {
		t.Errorf("%d operations were granted and %d denied: the test has lost its way", len(granted), len(denied))
	}
	if err := a.Close(); err != nil {
		t.Error(err)
	}
}

// omits reports whether a call needs no record: a page of something whose beginning and
// end are recorded.
func omits(op *api.Operation, err error) bool {
	return err == nil && op.ReadOnly && op.Service == arcaapi.Service
}

func requestID(line []byte) string {
	_, rest, _ := strings.Cut(string(line), `"requestID":"`)
	id, _, _ := strings.Cut(rest, `"`)
	return id
}
