package lambda

import (
	"encoding/base64"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"arca/internal/arn"
	"arca/internal/store"
)

// The records of this package are stored for good: a key number, once given out,
// keeps its meaning and is never reused.

// Millis is a moment in milliseconds since the Unix epoch. Zero means never.
type Millis = int64

// Function is the record of a function. Its name, within its account and region, is
// where the record lives, so that of two which are made at once only one can be.
type Function struct {
	// UID tells it from a namesake of another time.
	UID     [16]byte `cbor:"1,keyasint"`
	Account string   `cbor:"2,keyasint"`
	Region  string   `cbor:"3,keyasint"`
	Name    string   `cbor:"4,keyasint"`
	Runtime string   `cbor:"5,keyasint"`
	Handler string   `cbor:"6,keyasint"`
	// Role is the ARN that the role was passed by, RoleUID its unique id: a role that is
	// made later under that name is another one.
	Role         string `cbor:"7,keyasint"`
	RoleUID      string `cbor:"8,keyasint"`
	Description  string `cbor:"9,keyasint,omitempty"`
	Timeout      int32  `cbor:"10,keyasint"` // seconds
	Memory       int32  `cbor:"11,keyasint"` // MiB
	Architecture string `cbor:"12,keyasint"`
	// Package is the id of the package with the code; "" means that there is none.
	Package  string   `cbor:"13,keyasint,omitempty"`
	SHA256   [32]byte `cbor:"14,keyasint"` // of the archive
	Size     int64    `cbor:"15,keyasint"`
	Modified Millis   `cbor:"16,keyasint"`
	Revision string   `cbor:"17,keyasint"` // a UUID, drawn anew with every change
	// Policy is the function's own policy with principals by unique id; "" for none.
	Policy         string `cbor:"18,keyasint,omitempty"`
	PolicyRevision string `cbor:"19,keyasint,omitempty"`
	Tags           []Tag  `cbor:"20,keyasint,omitempty"`
	// HasEnv says that there is an Environment.
	HasEnv  bool   `cbor:"21,keyasint,omitempty"`
	Created Millis `cbor:"22,keyasint"`
}

// Tag is one key with its value.
type Tag struct {
	Key   string `cbor:"1,keyasint"`
	Value string `cbor:"2,keyasint"`
}

// Environment is a child of its function: the variables that its code is started with.
// They hold passwords often enough, so they are not kept in memory.
type Environment struct {
	Variables map[string]string `cbor:"1,keyasint"`
}

// Package is an uploaded archive. It is stored before the function that it is for, since
// no transaction could hold it; until a function has it, Function is empty, and Sweep
// removes it after a while.
type Package struct {
	ID      string   `cbor:"1,keyasint"`
	Account string   `cbor:"2,keyasint"`
	Region  string   `cbor:"3,keyasint"`
	SHA256  [32]byte `cbor:"4,keyasint"`
	Size    int64    `cbor:"5,keyasint"`
	Chunks  int      `cbor:"6,keyasint"`
	Created Millis   `cbor:"7,keyasint"`
	// Function is the UID of the function that has it.
	Function [16]byte `cbor:"8,keyasint,omitempty"`
}

// Chunk is a piece of an archive, a child of its package.
type Chunk struct {
	Bytes []byte `cbor:"1,keyasint"`
}

const (
	functionFormat    = 1
	environmentFormat = 1
	packageFormat     = 1
	chunkFormat       = 1
)

// chunkBytes is how much of an archive a record holds: with room to spare, what etcd
// takes in one request.
const chunkBytes = 512 << 10

type tables struct {
	functions *store.Table[Function]
	envs      *store.Table[Environment]
	packages  *store.Table[Package]
	chunks    *store.Table[Chunk]
}

// The indexes: functions by account, region and name, and packages that no function has
// by age.
const (
	byName   = "name"
	byStaged = "staged"
)

func newTables(st *store.Store) tables {
	return tables{
		functions: store.NewTable(st, store.TableSpec[Function]{
			Name: "function", Format: functionFormat,
			Indexes: []store.Index[Function]{{Name: byName, Keys: func(f *Function, emit func(string)) {
				emit(namePrefix(f.Account, f.Region) + f.Name)
			}}},
		}),
		envs: store.NewTable(st, store.TableSpec[Environment]{
			Name: "function-env", Format: environmentFormat, Child: true, InlineLimit: 1,
		}),
		packages: store.NewTable(st, store.TableSpec[Package]{
			Name: "function-package", Format: packageFormat, Vanishes: true,
			Quiet: (*Package).staged, // until a function has it, nobody can see it
			Indexes: []store.Index[Package]{{Name: byStaged, Keys: func(p *Package, emit func(string)) {
				if p.staged() {
					emit(orderKey(p.Created) + p.ID)
				}
			}}},
		}),
		chunks: store.NewTable(st, store.TableSpec[Chunk]{
			Name: "function-chunk", Format: chunkFormat, Child: true, InlineLimit: 1, Vanishes: true,
			Quiet: func(*Chunk) bool { return true }, // likewise; a package names the hash of its bytes
		}),
	}
}

func namePrefix(account, region string) string { return account + "\x00" + region + "\x00" }

// orderKey sorts like the moments themselves when compared as a string.
func orderKey(at Millis) string {
	u := uint64(at) ^ 1<<63
	b := make([]byte, 8)
	for i := range b {
		b[i] = byte(u >> (56 - 8*i))
	}
	return string(b)
}

// scopeOf is the Scope part of store keys: one account in one region.
func scopeOf(account, region string) string { return account + "/" + region }

func (f *Function) key() store.Key {
	return store.Key{Scope: scopeOf(f.Account, f.Region), Parent: f.Name}
}

func (f *Function) envKey() store.Key {
	k := f.key()
	k.Child = "env"
	return k
}

// packageKey is where a package lives; no function's name has a slash.
func packageKey(account, region, id string) store.Key {
	return store.Key{Scope: scopeOf(account, region), Parent: "package/" + id}
}

func (p *Package) key() store.Key { return packageKey(p.Account, p.Region, p.ID) }

func (p *Package) chunkKey(i int) store.Key {
	k := p.key()
	k.Child = hex.EncodeToString([]byte{byte(i >> 8), byte(i)})
	return k
}

func (p *Package) staged() bool { return p.Function == [16]byte{} }

// arnOf is the ARN of a function, unqualified.
func arnOf(account, region, name string) string {
	partition, ok := arn.PartitionOf(region)
	if !ok {
		partition = arn.PartitionAWS
	}
	return "arn:" + partition + ":lambda:" + region + ":" + account + ":function:" + name
}

// ARN is arn:aws:lambda:REGION:ACCOUNT:function:NAME.
func (f *Function) ARN() string { return arnOf(f.Account, f.Region, f.Name) }

// CodeSHA256 is the hash of the archive as Lambda writes it.
func (f *Function) CodeSHA256() string { return base64.StdEncoding.EncodeToString(f.SHA256[:]) }

// MaxDuration is how long one invocation may take.
func (f *Function) MaxDuration() time.Duration { return time.Duration(f.Timeout) * time.Second }

// clone copies what may be changed without changing f.
func (f *Function) clone() *Function {
	c := *f
	c.Tags = slices.Clone(f.Tags)
	return &c
}

// Kind says what runs a function.
type Kind string

// The kinds of functions: code in an archive, one of the server's own by its name, or
// somebody's HTTPS server.
const (
	Process Kind = "process"
	BuiltIn Kind = "built-in"
	Webhook Kind = "webhook"
)

// Handlers that stand for something else than code. With them a function needs no
// archive, and its runtime is provided.al2023.
const (
	builtInPrefix  = "arca.builtin/"
	webhookHandler = "arca.webhook"
	// WebhookURL is the environment variable that says where a webhook is, WebhookSecret
	// the one with the key by which its requests are signed.
	WebhookURL    = "URL"
	WebhookSecret = "ARCA_WEBHOOK_SECRET"
	// MinWebhookSecret is how many characters that key has at least.
	MinWebhookSecret = 16
)

// Kind tells what runs the function.
func (f *Function) Kind() Kind {
	switch {
	case f.Handler == webhookHandler:
		return Webhook
	case strings.HasPrefix(f.Handler, builtInPrefix):
		return BuiltIn
	}
	return Process
}

// BuiltInName is the name of the built-in function that it stands for.
func (f *Function) BuiltInName() string { return strings.TrimPrefix(f.Handler, builtInPrefix) }
