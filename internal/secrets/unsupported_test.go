package secrets_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"arca/internal/api"
	"arca/internal/api/smapi"
)

// Operations that are not served say so by name, to those who may call them.
func TestUnsupportedOperations(t *testing.T) {
	b := newBed(t)
	defer b.check(t)
	b.create(t, "s")
	regions := []smapi.ReplicaRegionType{{Region: new("us-east-1")}}
	for _, tc := range []struct {
		op *api.Operation
		in func(id string) any
	}{
		{smapi.OpReplicateSecretToRegions, func(id string) any {
			return &smapi.ReplicateSecretToRegionsInput{SecretId: id, AddReplicaRegions: regions}
		}},
		{smapi.OpStopReplicationToReplica, func(id string) any { return &smapi.StopReplicationToReplicaInput{SecretId: id} }},
	} {
		t.Run(tc.op.Name, func(t *testing.T) {
			refused(t, b, tc.op, tc.in("s"), "InvalidRequestException: "+tc.op.Name+" is not supported by this server.")
			refused(t, b, tc.op, tc.in("none"), noSecret)
			refused(t, b, tc.op, tc.in("Inv Name"), badName)
			b.denies(t, tc.op.Name)
			refused(t, b, tc.op, tc.in("s"), denial(tc.op.Name))
		})
	}
	if got := b.describe(t, "s"); got.ReplicationStatus != nil {
		t.Errorf("a refused operation left traces: %+v", got)
	}
}

func TestRemoveRegionsFromReplication(t *testing.T) {
	b := newBed(t)
	arn := b.create(t, "s").ARN
	in := &smapi.RemoveRegionsFromReplicationInput{SecretId: "s", RemoveReplicaRegions: []string{"us-east-1"}}
	out := must[smapi.RemoveRegionsFromReplicationOutput](t, b, smapi.OpRemoveRegionsFromReplication, in)
	if diff := cmp.Diff(&smapi.RemoveRegionsFromReplicationOutput{ARN: arn, ReplicationStatus: []smapi.ReplicationStatusType{}}, out); diff != "" {
		t.Errorf("RemoveRegionsFromReplication (-want +got):\n%s", diff)
	}
	in.SecretId = "none"
	refused(t, b, smapi.OpRemoveRegionsFromReplication, in, noSecret)
	b.denies(t, "RemoveRegionsFromReplication")
	refused(t, b, smapi.OpRemoveRegionsFromReplication, in, denial("RemoveRegionsFromReplication"))
}
