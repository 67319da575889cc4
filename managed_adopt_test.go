package keyturn_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"
	rdstypes "github.com/aws/aws-sdk-go-v2/service/rds/types"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/keyturn/keyturn/internal/dbserver"
	"github.com/keyturn/keyturn/internal/dbtest"
)

// The password with which a server was adopted is a thing of the past as soon as another
// one has logged in there, also before the cluster has an instance.
func TestAdoptedServerIsAvailableWithWhateverLogsIn(t *testing.T) {
	const today, wrong = "Today.Password_1", "Mistyped.Password_1"
	for name, tc := range map[string]struct {
		managed bool
		first   string
		change  func(w *masterWorld)
	}{
		"Rotated": {true, today, func(w *masterWorld) {
			w.must(w.modify(func(in *rds.ModifyDBClusterInput) { in.RotateMasterUserPassword = aws.Bool(true) }))
			w.wantLogin()
		}},
		"TurnedOn": {false, wrong, func(w *masterWorld) {
			w.must(w.modify(func(in *rds.ModifyDBClusterInput) {
				in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(true), aws.String(today)
			}))
		}},
		"TurnedOnLate": {false, wrong, func(w *masterWorld) {
			w.createInstance()
			w.wantInstance("incompatible-credentials")
			w.must(w.modify(func(in *rds.ModifyDBClusterInput) {
				in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(true), aws.String(today)
			}))
		}},
		"TurnedOffLate": {true, wrong, func(w *masterWorld) {
			w.createInstance()
			w.wantInstance("incompatible-credentials")
			w.must(w.modify(func(in *rds.ModifyDBClusterInput) {
				in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(false), aws.String(today)
			}))
		}},
		"TurnedOff": {true, wrong, func(w *masterWorld) {
			w.must(w.modify(func(in *rds.ModifyDBClusterInput) {
				in.ManageMasterUserPassword, in.MasterUserPassword = aws.Bool(false), aws.String(today)
			}))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			at := dbtest.Server(t, dbserver.MariaDB)
			at.Exec(t, "CREATE USER boss@'%' IDENTIFIED BY '"+today+"'")
			defer at.Exec(t, "DROP USER boss@'%'") // others use the server
			s, _ := openManaged(t, dbtest.Dir(t))
			w := newMasterWorld(t, s, dbserver.MariaDB, func(in *rds.CreateDBClusterInput) {
				in.MasterUserPassword, in.ManageMasterUserPassword = aws.String(tc.first), &tc.managed
				in.Tags = []rdstypes.Tag{{Key: aws.String("keyturn:endpoint"), Value: aws.String(fmt.Sprintf("%s:%d", at.Host, at.Port))}}
			})
			tc.change(w)
			if len(w.cluster().DBClusterMembers) == 0 {
				w.createInstance()
			}
			w.wantInstance("available")
		})
	}
}

// A cluster that is deleted while ManageMasterUserPassword is turned on leaves no secret,
// which nobody could delete.
func TestNoSecretOfDeletedCluster(t *testing.T) {
	s, _ := openManaged(t, dbtest.Dir(t))
	c, secrets := rds.NewFromConfig(s.AWSConfig()), secretsmanager.NewFromConfig(s.AWSConfig())
	for i := range 20 {
		id := aws.String(fmt.Sprintf("c-%d", i))
		_, err := c.CreateDBCluster(t.Context(), &rds.CreateDBClusterInput{DBClusterIdentifier: id, Engine: aws.String("mariadb"),
			MasterUsername: aws.String("boss"), MasterUserPassword: aws.String("Some.Password_1")})
		if err != nil {
			t.Fatal(err)
		}
		var both sync.WaitGroup
		both.Go(func() {
			_, _ = c.ModifyDBCluster(t.Context(), &rds.ModifyDBClusterInput{DBClusterIdentifier: id, ManageMasterUserPassword: aws.Bool(true)}) // or it is gone
		})
		both.Go(func() {
			if _, err := c.DeleteDBCluster(t.Context(), &rds.DeleteDBClusterInput{DBClusterIdentifier: id, SkipFinalSnapshot: aws.Bool(true)}); err != nil {
				t.Error(err)
			}
		})
		both.Wait()
	}
	list, err := secrets.ListSecrets(t.Context(), &secretsmanager.ListSecretsInput{})
	if err != nil || len(list.SecretList) > 0 {
		t.Errorf("%d secrets are left, %v", len(list.SecretList), err)
	}
}
