package wire_test

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
	"arca/internal/wire"
)

func ptr[T any](v T) *T { return &v }

// same compares values; a difference in sensitive members is found, though printed as
// REDACTED.
func same(a, b any) string { return cmp.Diff(a, b) }

func TestDecodeInput(t *testing.T) {
	token := "EXAMPLE1-90ab-cdef-fedc-ba987EXAMPLE"
	for _, tt := range []struct {
		name string
		op   *api.Operation
		body string
		want any
	}{
		{"only what is required", smapi.OpGetSecretValue, `{"SecretId":"a"}`, &smapi.GetSecretValueInput{SecretId: "a"}},
		{"white space", smapi.OpGetSecretValue, " \t\r\n{ \"SecretId\" : \"a\" , \"VersionStage\":\n\"b\" } ",
			&smapi.GetSecretValueInput{SecretId: "a", VersionStage: ptr("b")}},
		{"null is absent", smapi.OpGetSecretValue, `{"SecretId":"a","VersionId":null}`, &smapi.GetSecretValueInput{SecretId: "a"}},
		{"unknown members", smapi.OpGetSecretValue,
			`{"x":[1,{"SecretId":"b"},"\u00e9"],"SecretId":"a","secretId":"c","y":{},"z":[],"n":-0.5e+3,"t":true,"f":false,"o":null}`,
			&smapi.GetSecretValueInput{SecretId: "a"}},
		{"empty string is given", smapi.OpUpdateSecret, `{"SecretId":"a","Description":"","KmsKeyId":""}`,
			&smapi.UpdateSecretInput{SecretId: "a", Description: ptr(""), KmsKeyId: ptr("")}},
		{"empty list is given", smapi.OpTagResource, `{"SecretId":"a","Tags":[]}`,
			&smapi.TagResourceInput{SecretId: "a", Tags: []smapi.Tag{}}},
		{"escapes", smapi.OpPutSecretValue, `{"SecretId":"a","SecretString":"\"\\\/\b\f\n\r\t\u0000\u00e9\ud83d\udd11é🔑"}`,
			&smapi.PutSecretValueInput{SecretId: "a", SecretString: ptr(api.SensitiveString("\"\\/\b\f\n\r\t\x00é🔑é🔑"))}},
		{"escaped member name", smapi.OpGetSecretValue, `{"\u0053ecretId":"a"}`, &smapi.GetSecretValueInput{SecretId: "a"}},
		{"blob", smapi.OpPutSecretValue, `{"SecretId":"a","SecretBinary":"Zm9vdGVzdA=="}`,
			&smapi.PutSecretValueInput{SecretId: "a", SecretBinary: api.SensitiveBytes("footest")}},
		{"blob with escaped slash", smapi.OpPutSecretValue, `{"SecretId":"a","SecretBinary":"\/\/\/\/"}`,
			&smapi.PutSecretValueInput{SecretId: "a", SecretBinary: api.SensitiveBytes("\xff\xff\xff")}},
		{"numbers and booleans", smapi.OpDeleteSecret, `{"SecretId":"a","RecoveryWindowInDays":-7,"ForceDeleteWithoutRecovery":true}`,
			&smapi.DeleteSecretInput{SecretId: "a", RecoveryWindowInDays: ptr[int64](-7), ForceDeleteWithoutRecovery: ptr(true)}},
		{"integers in other notations", smapi.OpListSecrets, `{"MaxResults":3.0e1,"IncludePlannedDeletion":false}`,
			&smapi.ListSecretsInput{MaxResults: ptr[int32](30), IncludePlannedDeletion: ptr(false)}},
		{"largest long", smapi.OpDeleteSecret, `{"SecretId":"a","RecoveryWindowInDays":9223372036854775807}`,
			&smapi.DeleteSecretInput{SecretId: "a", RecoveryWindowInDays: ptr[int64](1<<63 - 1)}},
		{"nested", smapi.OpCreateSecret,
			`{"Name":"n","ClientRequestToken":"` + token + `","Tags":[{"Key":"k","Value":""},{"Key":"l"}],"AddReplicaRegions":[{"Region":"eu-west-1"}]}`,
			&smapi.CreateSecretInput{
				Name: "n", ClientRequestToken: &token,
				Tags:              []smapi.Tag{{Key: ptr("k"), Value: ptr("")}, {Key: ptr("l")}},
				AddReplicaRegions: []smapi.ReplicaRegionType{{Region: ptr("eu-west-1")}},
			}},
		{"nested structure", smapi.OpRotateSecret, `{"SecretId":"a","RotationRules":{"AutomaticallyAfterDays":30,"Duration":"3h"}}`,
			&smapi.RotateSecretInput{SecretId: "a", RotationRules: &smapi.RotationRulesType{AutomaticallyAfterDays: ptr[int64](30), Duration: ptr("3h")}}},
		{"no members", smapi.OpListSecrets, `{}`, &smapi.ListSecretsInput{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeInput(tt.op, []byte(tt.body))
			if err != nil {
				t.Fatalf("DecodeInput() error: %v", err)
			}
			if diff := same(tt.want, got); diff != "" {
				t.Errorf("DecodeInput() (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDecodeInputRefuses(t *testing.T) {
	get, put, list, del := smapi.OpGetSecretValue, smapi.OpPutSecretValue, smapi.OpListSecrets, smapi.OpDeleteSecret
	for _, tt := range []struct {
		name, body string
		op         *api.Operation
		want       string // message; "" for bytes that are not JSON
	}{
		{"empty", ``, list, ""},
		{"white space only", ` `, list, ""},
		{"not JSON", `SecretId=a`, list, ""},
		{"open object", `{"SecretId":"a"`, get, ""},
		{"trailing data", `{"SecretId":"a"}x`, get, ""},
		{"second value", `{"SecretId":"a"}{}`, get, ""},
		{"trailing NUL", "{}\x00", list, ""},
		{"trailing comma", `{"SecretId":"a", }`, get, ""},
		{"leading comma", `{,"SecretId":"a"}`, get, ""},
		{"trailing comma in a list", `{"SecretId":"a","VersionStages":["x",]}`, put, ""},
		{"missing colon", `{"SecretId" "a"}`, get, ""},
		{"single quotes", `{'SecretId':'a'}`, get, ""},
		{"comment", `{/**/}`, list, ""},
		{"byte order mark", "\ufeff{}", list, ""},
		{"bad literal", `{"IncludePlannedDeletion":tru}`, list, ""},
		{"bad null", `{"SecretId":nul}`, get, ""},
		{"leading zero", `{"MaxResults":01}`, list, ""},
		{"plus sign", `{"MaxResults":+1}`, list, ""},
		{"bare fraction", `{"MaxResults":1.}`, list, ""},
		{"bare minus", `{"MaxResults":-}`, list, ""},
		{"NaN", `{"MaxResults":NaN}`, list, ""},
		{"control character in a string", "{\"SecretId\":\"a\nb\"}", get, ""},
		{"bad escape", `{"SecretId":"\x41"}`, get, ""},
		{"short escape", `{"SecretId":"\u12"}`, get, ""},
		{"high surrogate alone", `{"SecretId":"\ud83dx"}`, get, ""},
		{"low surrogate first", `{"SecretId":"\udd11\ud83d"}`, get, ""},
		{"invalid UTF-8", "{\"SecretId\":\"a\xff\"}", get, ""},
		{"invalid UTF-8 in an unknown member", "{\"SecretId\":\"a\",\"x\":\"\xc3\"}", get, ""},
		{"broken unknown member", `{"SecretId":"a","x":[1,}`, get, ""},
		{"too deep", `{"x":` + strings.Repeat("[", wire.MaxDepth) + strings.Repeat("]", wire.MaxDepth) + `}`, list, ""},

		{"null", `null`, list, "NULL_VALUE can not be converted to a structure"},
		{"list at the top", `[]`, list, "Start of list found where not expected"},
		{"string at the top", `"x"`, list, "STRING_VALUE can not be converted to a structure"},
		{"number for a string", `{"SecretId":1}`, get, "NUMBER_VALUE can not be converted to a String"},
		{"true for a string", `{"SecretId":true}`, get, "TRUE_VALUE can not be converted to a String"},
		{"false for a string", `{"SecretId":false}`, get, "FALSE_VALUE can not be converted to a String"},
		{"object for a string", `{"SecretId":{}}`, get, "Start of structure or map found where not expected"},
		{"list for a string", `{"SecretId":["a"]}`, get, "Start of list found where not expected"},
		{"broken object for a string", `{"SecretId":{]}`, get, ""},
		{"string for a number", `{"MaxResults":"1"}`, list, "STRING_VALUE can not be converted to an Integer"},
		{"fraction for a number", `{"MaxResults":1.5}`, list, "NUMBER_VALUE can not be converted to an Integer"},
		{"beyond 32 bits", `{"MaxResults":2147483648}`, list, "NUMBER_VALUE can not be converted to an Integer"},
		{"beyond 32 bits in other notation", `{"MaxResults":3e9}`, list, "NUMBER_VALUE can not be converted to an Integer"},
		{"beyond 64 bits", `{"SecretId":"a","RecoveryWindowInDays":9223372036854775808}`, del, "NUMBER_VALUE can not be converted to a Long"},
		{"exponent beyond reason", `{"MaxResults":1e999999999}`, list, "NUMBER_VALUE can not be converted to an Integer"},
		{"string for a boolean", `{"IncludePlannedDeletion":"true"}`, list, "STRING_VALUE can not be converted to a Boolean"},
		{"number for a boolean", `{"IncludePlannedDeletion":1}`, list, "NUMBER_VALUE can not be converted to a Boolean"},
		{"string for a list", `{"SecretId":"a","VersionStages":"x"}`, put, "STRING_VALUE can not be converted to a list"},
		{"number in a list", `{"SecretId":"a","VersionStages":[1]}`, put, "NUMBER_VALUE can not be converted to a String"},
		{"list for a structure", `{"SecretId":"a","RotationRules":[]}`, smapi.OpRotateSecret, "Start of list found where not expected"},
		{"number for a blob", `{"SecretId":"a","SecretBinary":1}`, put, "NUMBER_VALUE can not be converted to a Blob"},
		{"unpadded base64", `{"SecretId":"a","SecretBinary":"Zm9vdGVzdA"}`, put, "Blob is not valid base64"},
		{"URL alphabet", `{"SecretId":"a","SecretBinary":"__-_"}`, put, "Blob is not valid base64"},
		{"line break in base64", `{"SecretId":"a","SecretBinary":"Zm9v\nZm9v"}`, put, "Blob is not valid base64"},
		{"stray bits in base64", `{"SecretId":"a","SecretBinary":"Zm9vdGVzdB=="}`, put, "Blob is not valid base64"},
		{"member twice", `{"SecretId":"a","SecretId":"a"}`, get, "Member SecretId is given more than once"},
		{"member twice, once null", `{"SecretId":null,"SecretId":"a"}`, get, "Member SecretId is given more than once"},
		{"member twice, once escaped", `{"SecretId":"a","\u0053ecretId":"b"}`, get, "Member SecretId is given more than once"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in, err := wire.DecodeInput(tt.op, []byte(tt.body))
			if err == nil {
				t.Fatalf("DecodeInput() = %+v, want an error", in)
			}
			if err.Code != api.SerializationException || err.Message != tt.want {
				t.Errorf("DecodeInput() = %v, want SerializationException %q", err, tt.want)
			}
		})
	}
}

// TestErrorsDoNotRepeatSecrets sends a marked secret in ways that fail.
func TestErrorsDoNotRepeatSecrets(t *testing.T) {
	for _, body := range []string{
		`{"SecretId":"a","SecretString":"hunter2"x}`,
		`{"SecretId":"a","SecretString":{"hunter2":"hunter2"}}`,
		`{"SecretId":"a","SecretString":["hunter2"]}`,
		`{"SecretId":"a","SecretBinary":"hunter2"}`,
		`{"SecretId":"a","RotationToken":"hunter2"}`,
		`{"SecretId":"a","SecretString":"hunter2` + strings.Repeat("x", 65536) + `"}`,
		`{"SecretId":"a","SecretString":"hunter2","SecretString":"hunter2"}`,
	} {
		_, err := wire.DecodeInput(smapi.OpPutSecretValue, []byte(body))
		if err == nil {
			t.Errorf("%.60s: accepted", body)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.60s: the error repeats the secret: %v", body, err)
		}
	}
}

// kinds is a shape with what no Secrets Manager input has: times, maps, nested
// lists, required members below the top.
type kinds struct {
	Time  *time.Time
	Map   map[string][]string
	Inner []inner
	Lists [][]string
	Long  int64
	Blob  []byte
}

type inner struct {
	Must  string
	Count int32
}

var (
	stringShape = &api.Shape{Kind: api.String, Name: "String", Min: 2, HasMin: true}
	stringList  = &api.Shape{Kind: api.List, Name: "StringList", Elem: stringShape}
	innerShape  = &api.Shape{Kind: api.Structure, Name: "Inner", Type: reflect.TypeFor[inner](), Fields: []api.Field{
		{Name: "Must", Index: 0, Shape: stringShape, Required: true},
		{Name: "Count", Index: 1, Shape: &api.Shape{Kind: api.Integer, Name: "Count"}, Required: true},
	}}
	kindsShape = &api.Shape{Kind: api.Structure, Name: "Kinds", Type: reflect.TypeFor[kinds](), Fields: []api.Field{
		{Name: "Time", Index: 0, Shape: &api.Shape{Kind: api.Timestamp, Name: "Timestamp"}},
		{Name: "Map", Index: 1, Shape: &api.Shape{Kind: api.Map, Name: "Map", Key: stringShape, Elem: stringList}},
		{Name: "Inner", Index: 2, Shape: &api.Shape{Kind: api.List, Name: "InnerList", Elem: innerShape}},
		{Name: "Lists", Index: 3, Shape: &api.Shape{Kind: api.List, Name: "Lists", Elem: stringList}},
		{Name: "Long", Index: 4, Shape: &api.Shape{Kind: api.Long, Name: "Long", Max: 9, HasMax: true}, Required: true},
		{Name: "Blob", Index: 5, Shape: &api.Shape{Kind: api.Blob, Name: "Blob"}, Required: true},
	}}
	opKinds = api.NewService(api.Service{Protocol: api.JSON11, Operations: []*api.Operation{
		{Name: "Kinds", Input: kindsShape, Output: kindsShape},
	}}).Operations[0]
)

func TestDecodeOtherKinds(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		want       *kinds
		err        string
	}{
		{"time", `{"Time":1523477145.713,"Long":0,"Blob":""}`, &kinds{Time: ptr(time.UnixMilli(1523477145713).UTC()), Blob: []byte{}}, ""},
		{"time before 1970", `{"Time":-0.5,"Long":0,"Blob":""}`, &kinds{Time: ptr(time.UnixMilli(-500).UTC()), Blob: []byte{}}, ""},
		{"time in exponent notation", `{"Time":1.523477145713E9,"Long":0,"Blob":""}`, &kinds{Time: ptr(time.UnixMilli(1523477145713).UTC()), Blob: []byte{}}, ""},
		{"time finer than milliseconds", `{"Time":1.23456789,"Long":0,"Blob":""}`, &kinds{Time: ptr(time.UnixMilli(1234).UTC()), Blob: []byte{}}, ""},
		{"map", `{"Map":{"k1":["aa"],"":[]},"Long":0,"Blob":"AA=="}`, nil,
			"ValidationException: 1 validation error detected: Value '{=[], k1=[aa]}' at 'map' failed to satisfy constraint: " +
				"Member must satisfy constraint: [Member must have length greater than or equal to 2]"},
		{"good map", `{"Map":{"k1":["aa"],"k2":[]},"Long":9,"Blob":"AA=="}`,
			&kinds{Map: map[string][]string{"k1": {"aa"}, "k2": {}}, Long: 9, Blob: []byte{0}}, ""},
		{"nested lists", `{"Lists":[["aa"],[]],"Long":0,"Blob":""}`, &kinds{Lists: [][]string{{"aa"}, {}}, Blob: []byte{}}, ""},
		{"required members everywhere", `{"Inner":[{"Must":"aa","Count":0},{"Must":null},null]}`, nil,
			"ValidationException: 5 validation errors detected: " +
				"Value null at 'inner.2.member.must' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'inner.2.member.count' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'inner.3.member' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'long' failed to satisfy constraint: Member must not be null; " +
				"Value null at 'blob' failed to satisfy constraint: Member must not be null"},
		{"null inside a map and nested lists", `{"Map":{"k1":null,"k2":[null]},"Lists":[["a"],null],"Long":10,"Blob":""}`, nil,
			"ValidationException: 5 validation errors detected: " +
				"Value null at 'map.k1.member' failed to satisfy constraint: Member must not be null; " +
				"Value '[]' at 'map.k2.member' failed to satisfy constraint: Member must satisfy constraint: " +
				"[Member must have length greater than or equal to 2, Member must not be null]; " +
				"Value '[a]' at 'lists.1.member' failed to satisfy constraint: Member must satisfy constraint: " +
				"[Member must have length greater than or equal to 2]; " +
				"Value null at 'lists.2.member' failed to satisfy constraint: Member must not be null; " +
				"Value '10' at 'long' failed to satisfy constraint: Member must have value less than or equal to 9"},
		{"time as text", `{"Time":"2018-04-11T20:05:45Z","Long":0,"Blob":""}`, nil, "SerializationException: STRING_VALUE can not be converted to a Timestamp"},
		{"time beyond year 9999", `{"Time":253402300800,"Long":0,"Blob":""}`, nil, "SerializationException: NUMBER_VALUE can not be converted to a Timestamp"},
		{"broken time", `{"Time":1..2}`, nil, "SerializationException"},
		{"map key twice", `{"Map":{"k1":[],"k1":[]}}`, nil, "SerializationException: Map key is given more than once"},
		{"list for a map", `{"Map":[]}`, nil, "SerializationException: Start of list found where not expected"},
		{"broken map", `{"Map":{"k1":[],}}`, nil, "SerializationException"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeInput(opKinds, []byte(tt.body))
			if tt.want == nil {
				if err == nil || err.Error() != tt.err {
					t.Fatalf("DecodeInput() error = %v\nwant %s", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatalf("DecodeInput() error: %v", err)
			}
			if diff := same(tt.want, got); diff != "" {
				t.Errorf("DecodeInput() (-want +got):\n%s", diff)
			}
		})
	}
}

// bodies are seeds for fuzzing: shapes with every kind, and traps.
var bodies = []string{
	`{}`, `{"SecretId":"a"}`, `{"Name":"n","SecretString":"\ud83d\udd11\u0000é","Tags":[{"Key":"k","Value":""}]}`,
	`{"SecretId":"a","RotationRules":{"AutomaticallyAfterDays":3e1},"RotateImmediately":false}`,
	`{"Filters":[{"Key":"name","Values":["a",null]}],"MaxResults":1.0}`, `{"SecretBinary":"Zm9v","x":[[{"y":null}]]}`,
	`{"Name":"\ud800"}`, `{"Name":"a","Name":"b"}`, "{\"Name\":\"\xff\"}", `{"a":1,}`, `[]`, `null`, `-0`, `1E+2`, "\"\\u00",
	`{"Time":1.5,"Map":{"k":["v"]},"Lists":[[]],"Long":-1,"Blob":"AA=="}`,
}

// FuzzScanner compares what the scanner accepts with encoding/json, which is more
// lenient in two known points only: broken UTF-8 and broken surrogate pairs.
func FuzzScanner(f *testing.F) {
	for _, b := range bodies {
		f.Add([]byte(b))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := wire.ValidJSON(data), json.Valid(data)
		if ours && !theirs {
			t.Fatalf("%q is not JSON", data)
		}
		lenient := !utf8.Valid(data) || strings.Contains(strings.ToLower(string(data)), `\ud`) ||
			strings.Count(string(data), "[")+strings.Count(string(data), "{") > wire.MaxDepth
		if theirs && !ours && !lenient {
			t.Fatalf("%q is JSON", data)
		}
		if ours && !utf8.Valid(data) {
			t.Fatalf("%q is not UTF-8", data)
		}
	})
}

// FuzzDecode checks for every input shape that what is read is what encoding/json
// reads, and that encoding and reading again gives the same value.
func FuzzDecode(f *testing.F) {
	ops := append([]*api.Operation{opKinds}, smapi.Service.Operations...)
	for i, b := range bodies {
		f.Add(i, []byte(b))
	}
	f.Fuzz(func(t *testing.T, n int, body []byte) {
		op := ops[int(uint(n)%uint(len(ops)))]
		_, _ = wire.DecodeInput(op, body)
		v, err := wire.Decode(op.Input, body)
		if err != nil {
			return
		}
		var members map[string]any
		if err := json.Unmarshal(body, &members); err != nil {
			t.Fatalf("%q: encoding/json: %v", body, err)
		}
		for _, fld := range op.Input.Fields {
			fv := reflect.ValueOf(v).Elem().Field(fld.Index)
			want, given := members[fld.Name]
			given = given && want != nil
			switch fv.Kind() {
			case reflect.Pointer, reflect.Slice, reflect.Map:
				if fv.IsNil() == given {
					t.Fatalf("%q: %s given = %v", body, fld.Name, given)
				}
			}
			if s, ok := want.(string); ok && fld.Shape.Kind == api.String {
				if fv.Kind() == reflect.Pointer {
					fv = fv.Elem()
				}
				if fv.String() != s {
					t.Fatalf("%q: %s = %q, encoding/json reads %q", body, fld.Name, fv.String(), s)
				}
			}
		}
		text := wire.AppendJSON(nil, op.Input, v)
		again, err := wire.Decode(op.Input, text)
		if err != nil {
			t.Fatalf("%q encodes as %q: %v", body, text, err)
		}
		if diff := same(v, again); diff != "" {
			t.Fatalf("%q encodes as %q:\n%s", body, text, diff)
		}
	})
}
