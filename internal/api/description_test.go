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
	"github.com/aws/aws-sdk-go-v2/service/cloudtrail"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	ststypes "github.com/aws/aws-sdk-go-v2/service/sts/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/cloudtrailapi"
	"arca/internal/api/iamapi"
	"arca/internal/api/kmsapi"
	"arca/internal/api/lambdaapi"
	"arca/internal/api/smapi"
	"arca/internal/api/stsapi"
)

// services are all descriptions.
func services() []*api.Service {
	return []*api.Service{smapi.Service, arcaapi.Service, iamapi.Service, stsapi.Service, kmsapi.Service, lambdaapi.Service, cloudtrailapi.Service}
}

// clients are the published clients of the services that have one.
func clients() map[*api.Service]any {
	region, creds, retryer := "eu-west-1", aws.AnonymousCredentials{}, aws.NopRetryer{}
	return map[*api.Service]any{
		smapi.Service:         secretsmanager.New(secretsmanager.Options{Region: region, HTTPClient: noNetwork{}, Credentials: creds, Retryer: retryer}),
		kmsapi.Service:        kms.New(kms.Options{Region: region, HTTPClient: noNetwork{}, Credentials: creds, Retryer: retryer}),
		iamapi.Service:        iam.New(iam.Options{Region: region, HTTPClient: noNetwork{}, Credentials: creds, Retryer: retryer}),
		lambdaapi.Service:     lambda.New(lambda.Options{Region: region, HTTPClient: noNetwork{}, Credentials: creds, Retryer: retryer}),
		cloudtrailapi.Service: cloudtrail.New(cloudtrail.Options{Region: region, HTTPClient: noNetwork{}, Credentials: creds, Retryer: retryer}),
		stsapi.Service:        sts.New(sts.Options{Region: region, HTTPClient: noNetwork{}, Credentials: creds, Retryer: retryer}),
	}
}

// TestOperationsAreThoseOfTheSDK compares the descriptions with the published
// clients: operations they have, with the same members of the same kinds. Of Secrets
// Manager none is missing.
func TestOperationsAreThoseOfTheSDK(t *testing.T) {
	for s, c := range clients() {
		client := reflect.TypeOf(c)
		var theirs, ours []string
		for i := range client.NumMethod() {
			if m := client.Method(i); m.Type.NumIn() == 4 && m.Type.NumOut() == 2 && (s == smapi.Service || s.Operation(m.Name) != nil) {
				theirs = append(theirs, m.Name)
			}
		}
		for _, op := range s.Operations {
			ours = append(ours, op.Name)
		}
		sort.Strings(theirs)
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Fatalf("%s: operations (-sdk +ours):\n%s", s.Name, diff)
		}
		for _, op := range s.Operations {
			t.Run(s.Name+"."+op.Name, func(t *testing.T) {
				m, _ := client.MethodByName(op.Name)
				compareStructures(t, op.Name+"Input", m.Type.In(2).Elem(), op.Input)
				compareStructures(t, op.Name+"Output", m.Type.Out(0).Elem(), op.Output)
			})
		}
	}
}

// newer are members that AWS added after the model that the descriptions follow:
// hints about the size of session tokens, role templates, and what keys can do that are
// not served. ExecutionEnvironmentMemoryGiBPerVCpu is of a kind that nothing here needs.
var newer = []string{"MinimumSessionTokenSize", "SessionTokenSize", "SessionTokenUtilization", "SourceRoleTemplate", "EncapsulationAlgorithms",
	"ExecutionEnvironmentMemoryGiBPerVCpu"}

func compareStructures(t *testing.T, where string, theirs reflect.Type, sh *api.Shape) {
	t.Helper()
	want := map[string]reflect.Type{}
	for i := range theirs.NumField() {
		if f := theirs.Field(i); f.IsExported() && f.Name != "ResultMetadata" {
			want[f.Name] = f.Type
		}
	}
	for _, f := range sh.Fields {
		name := goName(f)
		st, ok := want[name]
		if !ok {
			t.Errorf("%s.%s: the SDK has no such member", where, f.Name)
			continue
		}
		delete(want, name)
		if plain := st.Kind() == reflect.Bool || st.Kind() == reflect.Int32 || st.Kind() == reflect.Int64; plain != f.Plain {
			t.Errorf("%s.%s: plain = %v, the SDK has %s", where, f.Name, f.Plain, st)
		}
		compareTypes(t, where+"."+f.Name, st, f.Shape)
	}
	for name := range want {
		if slices.Contains(newer, name) {
			continue
		}
		t.Errorf("%s.%s: missing in the description", where, name)
	}
}

// goName is the name of a member in Go, here and in the SDK.
func goName(f api.Field) string { return strings.ToUpper(f.Name[:1]) + f.Name[1:] }

func compareTypes(t *testing.T, where string, theirs reflect.Type, sh *api.Shape) {
	t.Helper()
	if theirs.Kind() == reflect.Pointer {
		theirs = theirs.Elem()
	}
	kind := api.Kind(0)
	switch {
	case theirs == reflect.TypeFor[iamtypes.PolicyIdentifier]():
		comparePolicyIdentifier(t, where, sh)
		return
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

// comparePolicyIdentifier compares a union, which the SDK writes as one type for each
// member.
func comparePolicyIdentifier(t *testing.T, where string, sh *api.Shape) {
	t.Helper()
	for i, theirs := range []any{
		iamtypes.PolicyIdentifierMemberPolicyType{}, iamtypes.PolicyIdentifierMemberPolicyArn{},
		iamtypes.PolicyIdentifierMemberInlinePolicyIdentifier{},
	} {
		value, _ := reflect.TypeOf(theirs).FieldByName("Value")
		compareTypes(t, where+"."+sh.Fields[i].Name, value.Type, sh.Fields[i].Shape)
		if want := "PolicyIdentifierMember" + sh.Fields[i].Name; reflect.TypeOf(theirs).Name() != want || len(sh.Fields) != 3 {
			t.Errorf("%s: member %s stands where the SDK has %T", where, sh.Fields[i].Name, theirs)
		}
	}
}

type noNetwork struct{}

func (noNetwork) Do(*http.Request) (*http.Response, error) { return nil, errors.New("no network") }

// TestRequiredMembersAreThoseOfTheSDK calls every operation with an empty input. The
// client refuses it before anything is sent and names what is missing.
func TestRequiredMembersAreThoseOfTheSDK(t *testing.T) {
	for s, client := range clients() {
		requiredMembers(t, s, reflect.ValueOf(client))
	}
}

func requiredMembers(t *testing.T, s *api.Service, client reflect.Value) {
	for _, op := range s.Operations {
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
	compareCodes(t, iamapi.Service, []smithy.APIError{
		&iamtypes.ConcurrentModificationException{}, &iamtypes.DeleteConflictException{}, &iamtypes.EntityAlreadyExistsException{},
		&iamtypes.EntityTemporarilyUnmodifiableException{}, &iamtypes.InvalidInputException{}, &iamtypes.LimitExceededException{},
		&iamtypes.MalformedPolicyDocumentException{}, &iamtypes.NoSuchEntityException{}, &iamtypes.OpenIdIdpCommunicationErrorException{},
		&iamtypes.PolicyEvaluationException{}, &iamtypes.PolicyNotAttachableException{}, &iamtypes.ServiceFailureException{},
		&iamtypes.UnmodifiableEntityException{},
	})
	compareCodes(t, stsapi.Service, []smithy.APIError{
		&ststypes.ExpiredTokenException{}, &ststypes.IDPCommunicationErrorException{}, &ststypes.IDPRejectedClaimException{},
		&ststypes.InvalidIdentityTokenException{}, &ststypes.MalformedPolicyDocumentException{},
		&ststypes.PackedPolicyTooLargeException{}, &ststypes.RegionDisabledException{},
	})
	compareCodes(t, smapi.Service, []smithy.APIError{
		&types.DecryptionFailure{}, &types.EncryptionFailure{}, &types.InternalServiceError{}, &types.InvalidNextTokenException{},
		&types.InvalidParameterException{}, &types.InvalidRequestException{}, &types.LimitExceededException{},
		&types.MalformedPolicyDocumentException{}, &types.PreconditionNotMetException{}, &types.PublicPolicyException{},
		&types.ResourceExistsException{}, &types.ResourceNotFoundException{},
	})
}

func compareCodes(t *testing.T, s *api.Service, theirs []smithy.APIError) {
	t.Helper()
	ours := map[string]*api.Code{}
	for _, op := range s.Operations {
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
		// Only Query services give their codes statuses of their own.
		if want := map[smithy.ErrorFault]int{smithy.FaultClient: 4, smithy.FaultServer: 5}[e.ErrorFault()]; c.Status/100 != want ||
			s.Protocol == api.JSON11 && c.Status%100 != 0 {
			t.Errorf("%s has status %d", c.Name, c.Status)
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
	for _, s := range services() {
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
	if diff := cmp.Diff([]string{
		"CiphertextBlob", "CiphertextForRecipient", "ClientContext", "Cursor", "Frame", "GrantToken", "Header", "LogResult", "Message", "Payload", "Plaintext",
		"RandomPassword", "RotationToken", "SecretAccessKey", "SecretBinary", "SecretString", "SessionToken", "TokenCode",
		"Variables", "WebIdentityToken", "WrappingKey", "WrappingParams", "ZipFile",
	}, names); diff != "" {
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

// TestWhoMayCallWithoutSignature lists what needs no credentials, so that nothing
// joins it unnoticed.
func TestWhoMayCallWithoutSignature(t *testing.T) {
	var got []string
	for _, s := range services() {
		for _, op := range s.Operations {
			if op.Unsigned {
				got = append(got, s.Name+":"+op.Name)
			}
		}
	}
	if diff := cmp.Diff([]string{"sts:AssumeRoleWithWebIdentity"}, got); diff != "" {
		t.Errorf("unsigned operations (-want +got):\n%s", diff)
	}
}

// TestProtocolCodes checks that each service has the codes of its protocol.
func TestProtocolCodes(t *testing.T) {
	for _, s := range services() {
		denied, invalid, throttled := api.AccessDeniedException, api.ValidationException, api.ThrottlingException
		switch s.Protocol {
		case api.Query:
			denied, invalid, throttled = api.AccessDenied, api.ValidationError, api.Throttling
		case api.RESTJSON:
			denied, throttled = api.RESTAccessDenied, lambdaapi.TooManyRequestsException
		}
		if s.AccessDenied != denied || s.Invalid != invalid || s.Throttled != throttled {
			t.Errorf("%s has the codes %s, %s and %s", s.Name, s.AccessDenied.Name, s.Invalid.Name, s.Throttled.Name)
		}
	}
}

// TestPatterns checks published patterns in Java's spelling.
func TestPatterns(t *testing.T) {
	pattern := func(op *api.Operation, member string) *api.Shape {
		for _, f := range op.Input.Fields {
			if f.Name == member {
				return f.Shape
			}
		}
		t.Fatalf("%s has no member %s", op.Name, member)
		return nil
	}
	for _, tt := range []struct {
		name  string
		shape *api.Shape
		value string
		want  bool
	}{
		{"path of a slash", pattern(iamapi.OpCreateUser, "Path"), "/", true},
		{"path of parts", pattern(iamapi.OpCreateUser, "Path"), "/a/b~/", true},
		{"path without its end", pattern(iamapi.OpCreateUser, "Path"), "/a", false},
		{"path with a space", pattern(iamapi.OpCreateUser, "Path"), "/a b/", false},
		{"document with line feeds", pattern(iamapi.OpPutUserPolicy, "PolicyDocument"), "{\r\n\t\"é\"}", true},
		{"document beyond Latin-1", pattern(iamapi.OpPutUserPolicy, "PolicyDocument"), "{\"Ā\"}", false},
		{"document with a control character", pattern(iamapi.OpPutUserPolicy, "PolicyDocument"), "{\x01}", false},
		{"role ARN beyond the first plane", pattern(stsapi.OpAssumeRole, "RoleArn"), "arn:aws:iam::123456789012:role/🔑", true},
		{"role ARN with a control character", pattern(stsapi.OpAssumeRole, "RoleArn"), "arn:aws:iam::123456789012:role/\x01", false},
		{"user name", pattern(iamapi.OpCreateUser, "UserName"), "a.b@c_d-e=f,g+1", true},
		{"user name with a letter beyond ASCII", pattern(iamapi.OpCreateUser, "UserName"), "é", false},
	} {
		if got := tt.shape.Pattern.MatchString(tt.value); got != tt.want {
			t.Errorf("%s: %q matches %s = %v", tt.name, tt.value, tt.shape.PatternAs, got)
		}
	}
}

// TestDescriptionsAreWhole checks what generated code must always be true to.
func TestDescriptionsAreWhole(t *testing.T) {
	for _, s := range services() {
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
			if s.Protocol == api.JSON11 && !slices.Contains(op.Errors, s.InternalError) {
				t.Errorf("%s.%s does not list the service's internal error", s.Name, op.Name)
			}
			if op.NoResult && (s.Protocol != api.Query || len(op.Output.Fields) > 0) {
				t.Errorf("%s.%s cannot be without a result", s.Name, op.Name)
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
		if got := sh.Type.Field(f.Index).Name; got != goName(f) {
			t.Errorf("%s: member %s points to the Go field %s", sh.Name, f.Name, got)
		}
		checkFields(t, f.Shape)
	}
	if sh.Kind == api.Structure && len(sh.Fields) != sh.Type.NumField() {
		t.Errorf("%s has %d members and %d Go fields", sh.Name, len(sh.Fields), sh.Type.NumField())
	}
}
