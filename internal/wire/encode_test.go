package wire_test

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"pgregory.net/rapid"

	"arca/internal/api"
	"arca/internal/api/arcaapi"
	"arca/internal/api/smapi"
	"arca/internal/wire"
)

func TestAppendOutput(t *testing.T) {
	at := func(ms int64) *time.Time { return ptr(time.UnixMilli(ms)) }
	for _, tt := range []struct {
		name string
		op   *api.Operation
		out  any
		want string
	}{
		{"secret value", smapi.OpGetSecretValue, &smapi.GetSecretValueOutput{
			ARN: ptr("arn:aws:x"), Name: ptr("n"), VersionId: ptr("v"), SecretString: ptr(api.SensitiveString("pa\"ss\n")),
			VersionStages: []string{"AWSCURRENT"}, CreatedDate: at(1523477145713),
		}, `{"ARN":"arn:aws:x","Name":"n","VersionId":"v","SecretString":"pa\"ss\n","VersionStages":["AWSCURRENT"],"CreatedDate":1523477145.713}`},
		{"blob", smapi.OpGetSecretValue, &smapi.GetSecretValueOutput{SecretBinary: api.SensitiveBytes("footest")}, `{"SecretBinary":"Zm9vdGVzdA=="}`},
		{"whole seconds", smapi.OpDeleteSecret, &smapi.DeleteSecretOutput{DeletionDate: at(1523923200000)}, `{"DeletionDate":1523923200}`},
		{"trailing zeros", smapi.OpDeleteSecret, &smapi.DeleteSecretOutput{DeletionDate: at(1523923200120)}, `{"DeletionDate":1523923200.12}`},
		{"leading zeros", smapi.OpDeleteSecret, &smapi.DeleteSecretOutput{DeletionDate: at(5)}, `{"DeletionDate":0.005}`},
		{"before 1970", smapi.OpDeleteSecret, &smapi.DeleteSecretOutput{DeletionDate: at(-1500)}, `{"DeletionDate":-1.5}`},
		{"finer than milliseconds", smapi.OpDeleteSecret, &smapi.DeleteSecretOutput{DeletionDate: ptr(time.Unix(1, 999_999_999))}, `{"DeletionDate":1.999}`},
		{"map in order", smapi.OpDescribeSecret, &smapi.DescribeSecretOutput{
			RotationEnabled: ptr(false), VersionIdsToStages: map[string][]string{"b": {"AWSPREVIOUS"}, "a": {"AWSCURRENT", "x"}, "c": nil},
		}, `{"RotationEnabled":false,"VersionIdsToStages":{"a":["AWSCURRENT","x"],"b":["AWSPREVIOUS"],"c":[]}}`},
		{"empty list is sent", smapi.OpListSecrets, &smapi.ListSecretsOutput{SecretList: []smapi.SecretListEntry{}}, `{"SecretList":[]}`},
		{"nested", smapi.OpListSecrets, &smapi.ListSecretsOutput{
			SecretList: []smapi.SecretListEntry{{Name: ptr("a"), RotationRules: &smapi.RotationRulesType{AutomaticallyAfterDays: ptr[int64](7)}}, {}},
			NextToken:  ptr("t"),
		}, `{"SecretList":[{"Name":"a","RotationRules":{"AutomaticallyAfterDays":7}},{}],"NextToken":"t"}`},
		{"no members", smapi.OpTagResource, &smapi.TagResourceOutput{}, `{}`},
		{"nil", smapi.OpTagResource, nil, `{}`},
		{"nil pointer", smapi.OpTagResource, (*smapi.TagResourceOutput)(nil), `{}`},
		{"clock", arcaapi.OpGetClock, &arcaapi.GetClockOutput{Now: at(1000), Offset: ptr("744h0m0s")}, `{"Now":1,"Offset":"744h0m0s"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := string(wire.Reply{Op: tt.op}.AppendOutput([]byte("x"), tt.out)); got != "x"+tt.want {
				t.Errorf("AppendOutput() =\n%s\nwant\n%s", got[1:], tt.want)
			}
		})
	}
}

func TestAppendOutputOfAnotherOperation(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("an output of the wrong type was encoded")
		}
	}()
	wire.Reply{Op: smapi.OpTagResource}.AppendOutput(nil, &smapi.DeleteSecretOutput{})
}

// TestDecodeUndoesEncode builds random inputs and outputs of every operation.
func TestDecodeUndoesEncode(t *testing.T) {
	shapes := []*api.Shape{kindsShape}
	for _, s := range services() {
		for _, op := range s.Operations {
			shapes = append(shapes, op.Input, op.Output)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		sh := rapid.SampledFrom(shapes).Draw(t, "shape")
		v := reflect.New(sh.Type)
		fill(t, sh, v.Elem())
		for _, f := range sh.Fields {
			if f.Place != api.InBody {
				v.Elem().Field(f.Index).SetZero()
			}
		}
		text := wire.AppendJSON(nil, sh, v.Interface())
		if !json.Valid(text) {
			t.Fatalf("%s encodes as %s, which is not JSON", sh.Name, text)
		}
		back, err := wire.Decode(sh, text)
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		if diff := same(v.Interface(), back); diff != "" {
			t.Fatalf("%s:\n%s", text, diff)
		}
	})
}

// fill gives rv, of the Go type of sh, a random value.
func fill(t *rapid.T, sh *api.Shape, rv reflect.Value) {
	switch sh.Kind {
	case api.Structure:
		for _, f := range sh.Fields {
			fv := rv.Field(f.Index)
			if fv.Kind() == reflect.Pointer {
				if rapid.Bool().Draw(t, "absent") {
					continue
				}
				fv.Set(reflect.New(fv.Type().Elem()))
				fv = fv.Elem()
			} else if (fv.Kind() == reflect.Slice || fv.Kind() == reflect.Map) && rapid.Bool().Draw(t, "absent") {
				continue
			}
			fill(t, f.Shape, fv)
		}
	case api.List:
		n := rapid.IntRange(0, 3).Draw(t, "n")
		rv.Set(reflect.MakeSlice(rv.Type(), n, n))
		for i := range n {
			fill(t, sh.Elem, rv.Index(i))
		}
	case api.Map:
		rv.Set(reflect.MakeMap(rv.Type()))
		for range rapid.IntRange(0, 3).Draw(t, "n") {
			k, v := reflect.New(rv.Type().Key()).Elem(), reflect.New(rv.Type().Elem()).Elem()
			fill(t, sh.Key, k)
			fill(t, sh.Elem, v)
			rv.SetMapIndex(k, v)
		}
	case api.String:
		rv.SetString(rapid.String().Draw(t, "string"))
	case api.Blob:
		rv.SetBytes(rapid.SliceOf(rapid.Byte()).Draw(t, "blob"))
	case api.Boolean:
		rv.SetBool(rapid.Bool().Draw(t, "bool"))
	case api.Integer:
		rv.SetInt(int64(rapid.Int32().Draw(t, "int")))
	case api.Long:
		rv.SetInt(rapid.Int64().Draw(t, "long"))
	case api.Timestamp:
		// Years 1700 to 2250: the SDK counts nanoseconds in 64 bits.
		ms := rapid.Int64Range(-8520336000_000, 8835955200_000).Draw(t, "ms")
		rv.Set(reflect.ValueOf(time.UnixMilli(ms).UTC()))
	}
}
