package api_test

import (
	"context"
	"errors"
	"net/http"
	"reflect"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
)

// TestSecretsManagerIsWhatTheSDKCalls compares the description with the published
// client: the same operations with the same members of the same kinds.
func TestSecretsManagerIsWhatTheSDKCalls(t *testing.T) {
	client := reflect.TypeFor[*secretsmanager.Client]()
	var theirs, ours []string
	for i := range client.NumMethod() {
		if m := client.Method(i); m.Type.NumIn() == 4 && m.Type.NumOut() == 2 {
			theirs = append(theirs, m.Name)
		}
	}
	for _, op := range smapi.Service.Operations {
		ours = append(ours, op.Name)
	}
	sort.Strings(theirs)
	if diff := cmp.Diff(theirs, ours); diff != "" {
		t.Fatalf("operations (-sdk +ours):\n%s", diff)
	}
	for _, op := range smapi.Service.Operations {
		t.Run(op.Name, func(t *testing.T) {
			m, _ := client.MethodByName(op.Name)
			compareStructures(t, op.Name+"Input", m.Type.In(2).Elem(), op.Input)
			compareStructures(t, op.Name+"Output", m.Type.Out(0).Elem(), op.Output)
		})
	}
}

func compareStructures(t *testing.T, where string, theirs reflect.Type, sh *api.Shape) {
	t.Helper()
	want := map[string]reflect.Type{}
	for i := range theirs.NumField() {
		if f := theirs.Field(i); f.IsExported() && f.Name != "ResultMetadata" {
			want[f.Name] = f.Type
		}
	}
	for _, f := range sh.Fields {
		st, ok := want[f.Name]
		if !ok {
			t.Errorf("%s.%s: the SDK has no such member", where, f.Name)
			continue
		}
		delete(want, f.Name)
		if plain := st.Kind() == reflect.Bool || st.Kind() == reflect.Int32 || st.Kind() == reflect.Int64; plain != f.Plain {
			t.Errorf("%s.%s: plain = %v, the SDK has %s", where, f.Name, f.Plain, st)
		}
		compareTypes(t, where+"."+f.Name, st, f.Shape)
	}
	for name := range want {
		t.Errorf("%s.%s: missing in the description", where, name)
	}
}

func compareTypes(t *testing.T, where string, theirs reflect.Type, sh *api.Shape) {
	t.Helper()
	if theirs.Kind() == reflect.Pointer {
		theirs = theirs.Elem()
	}
	kind := api.Kind(0)
	switch {
	case theirs == reflect.TypeFor[time.Time]():
		kind = api.Timestamp
	case theirs == reflect.TypeFor[[]byte]():
		kind = api.Blob
	default:
		kind = map[reflect.Kind]api.Kind{
			reflect.String: api.String, reflect.Bool: api.Boolean, reflect.Int32: api.Integer, reflect.Int64: api.Long,
			reflect.Slice: api.List, reflect.Map: api.Map, reflect.Struct: api.Structure,
		}[theirs.Kind()]
	}
	if kind != sh.Kind {
		t.Errorf("%s: kind %d, the SDK has %s", where, sh.Kind, theirs)
		return
	}
	switch kind {
	case api.List:
		compareTypes(t, where+"[]", theirs.Elem(), sh.Elem)
	case api.Map:
		compareTypes(t, where+"{}", theirs.Elem(), sh.Elem)
	case api.Structure:
		if theirs.Name() != sh.Name {
			t.Errorf("%s: named %s, the SDK has %s", where, sh.Name, theirs.Name())
		}
		compareStructures(t, where, theirs, sh)
	case api.String:
		var want []string
		if values := reflect.Zero(theirs).MethodByName("Values"); values.IsValid() {
			list := values.Call(nil)[0]
			for i := range list.Len() {
				want = append(want, list.Index(i).String())
			}
		}
		if diff := cmp.Diff(want, sh.Enum); diff != "" {
			t.Errorf("%s: enum (-sdk +ours):\n%s", where, diff)
		}
	}
}

type noNetwork struct{}

func (noNetwork) Do(*http.Request) (*http.Response, error) { return nil, errors.New("no network") }

// TestRequiredMembersAreThoseOfTheSDK calls every operation with an empty input. The
// client refuses it before anything is sent and names what is missing.
func TestRequiredMembersAreThoseOfTheSDK(t *testing.T) {
	client := reflect.ValueOf(secretsmanager.New(secretsmanager.Options{
		Region: "eu-west-1", HTTPClient: noNetwork{}, Credentials: aws.AnonymousCredentials{}, Retryer: aws.NopRetryer{},
	}))
	for _, op := range smapi.Service.Operations {
		m := client.MethodByName(op.Name)
		in := reflect.New(m.Type().In(1).Elem())
		err, _ := m.Call([]reflect.Value{reflect.ValueOf(context.Background()), in})[1].Interface().(error)
		var want []string
		if params, ok := errors.AsType[smithy.InvalidParamsError](err); ok {
			for _, e := range params.Errs() {
				if param, ok := errors.AsType[smithy.InvalidParamError](e); ok {
					want = append(want, strings.TrimPrefix(param.Field(), op.Name+"Input."))
				}
			}
		}
		var got []string
		for _, f := range op.Input.Fields {
			if f.Required {
				got = append(got, f.Name)
			}
		}
		sort.Strings(got)
		sort.Strings(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: required members (-sdk +ours):\n%s", op.Name, diff)
		}
	}
}

// TestErrorCodesAreThoseOfTheSDK compares names and whose fault each is.
func TestErrorCodesAreThoseOfTheSDK(t *testing.T) {
	theirs := []smithy.APIError{
		&types.DecryptionFailure{}, &types.EncryptionFailure{}, &types.InternalServiceError{}, &types.InvalidNextTokenException{},
		&types.InvalidParameterException{}, &types.InvalidRequestException{}, &types.LimitExceededException{},
		&types.MalformedPolicyDocumentException{}, &types.PreconditionNotMetException{}, &types.PublicPolicyException{},
		&types.ResourceExistsException{}, &types.ResourceNotFoundException{},
	}
	ours := map[string]*api.Code{}
	for _, op := range smapi.Service.Operations {
		for _, c := range op.Errors {
			ours[c.Name] = c
		}
	}
	for _, e := range theirs {
		c := ours[e.ErrorCode()]
		if c == nil {
			t.Errorf("%s is listed by no operation", e.ErrorCode())
			continue
		}
		if want := map[smithy.ErrorFault]int{smithy.FaultClient: 400, smithy.FaultServer: 500}[e.ErrorFault()]; c.Status != want {
			t.Errorf("%s has status %d, want %d", c.Name, c.Status, want)
		}
		delete(ours, e.ErrorCode())
	}
	for name := range ours {
		t.Errorf("%s is not a code of the service", name)
	}
}

// TestSensitiveMembers lists what must never reach a log, by name, so that a lost
// mark in a description does not go unnoticed.
func TestSensitiveMembers(t *testing.T) {
	got := map[string]bool{}
	for _, s := range []*api.Service{smapi.Service, arcaapi.Service} {
		for _, op := range s.Operations {
			eachMember(op.Input, func(f api.Field) { got[f.Name] = got[f.Name] || f.Shape.Sensitive })
			eachMember(op.Output, func(f api.Field) { got[f.Name] = got[f.Name] || f.Shape.Sensitive })
		}
	}
	var names []string
	for name, sensitive := range got {
		if sensitive {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	if diff := cmp.Diff([]string{"RandomPassword", "RotationToken", "SecretBinary", "SecretString"}, names); diff != "" {
		t.Errorf("sensitive members (-want +got):\n%s", diff)
	}
}

func eachMember(sh *api.Shape, fn func(api.Field)) {
	for _, f := range sh.Fields {
		fn(f)
		inner := f.Shape
		for inner.Elem != nil {
			inner = inner.Elem
		}
		eachMember(inner, fn)
	}
}

// TestDescriptionsAreWhole checks what generated code must always be true to.
func TestDescriptionsAreWhole(t *testing.T) {
	for _, s := range []*api.Service{smapi.Service, arcaapi.Service} {
		if !slices.IsSortedFunc(s.Operations, func(a, b *api.Operation) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s: operations are not sorted", s.Name)
		}
		for _, op := range s.Operations {
			if op.Service != s {
				t.Errorf("%s.%s belongs to another service", s.Name, op.Name)
			}
			if s.Operation(op.Name) != op {
				t.Errorf("%s.Operation(%q) is another operation", s.Name, op.Name)
			}
			if !slices.Contains(op.Errors, s.InternalError) {
				t.Errorf("%s.%s does not list the service's internal error", s.Name, op.Name)
			}
			for _, sh := range []*api.Shape{op.Input, op.Output} {
				checkFields(t, sh)
			}
		}
	}
	if smapi.Service.Operation("NoSuchOperation") != nil {
		t.Error("an unknown operation was found")
	}
}

func checkFields(t *testing.T, sh *api.Shape) {
	t.Helper()
	if sh.Elem != nil {
		checkFields(t, sh.Elem)
	}
	for _, f := range sh.Fields {
		if got := sh.Type.Field(f.Index).Name; got != f.Name {
			t.Errorf("%s: member %s points to the Go field %s", sh.Name, f.Name, got)
		}
		checkFields(t, f.Shape)
	}
	if sh.Kind == api.Structure && len(sh.Fields) != sh.Type.NumField() {
		t.Errorf("%s has %d members and %d Go fields", sh.Name, len(sh.Fields), sh.Type.NumField())
	}
}
