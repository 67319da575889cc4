// Package rdsapi is the slice of Amazon RDS (version 2014-10-31) that deploying
// needs: clusters and instances. A cluster is a database: a port, accounts and,
// as soon as it has an instance, a real server process on this machine. An
// adopted cluster stands for a server that somebody else runs.
//
//	cluster   creating ──▶ available ──▶ deleting      (no process of its own)
//	instance  creating ──▶ available ──▶ deleting ──▶ gone, data and all
//	              │  ▲         │  ▲
//	              ▼  │         ▼  │   tried again, later each time
//	          failed, storage-full, incompatible-network, incompatible-credentials
//
// Requests write rows; Run carries them out, one goroutine for each database.
// So an interrupted creation or deletion goes on after a restart.
package rdsapi

import (
	"log/slog"
	"sync"
	"time"

	"github.com/keyturn/keyturn/internal/envelope"
	"github.com/keyturn/keyturn/internal/fault"
	"github.com/keyturn/keyturn/internal/sqldb"
	"github.com/keyturn/keyturn/internal/wire"
)

// Failures that callers see. The codes are those on the wire, which differ from
// the names of the shapes here and there.
var (
	ErrClusterNotFound       = fault.Kind{Code: "DBClusterNotFoundFault", Status: 404}
	ErrClusterExists         = fault.Kind{Code: "DBClusterAlreadyExistsFault", Status: 400}
	ErrClusterState          = fault.Kind{Code: "InvalidDBClusterStateFault", Status: 400}
	ErrInstanceNotFound      = fault.Kind{Code: "DBInstanceNotFound", Status: 404}
	ErrInstanceExists        = fault.Kind{Code: "DBInstanceAlreadyExists", Status: 400}
	ErrInstanceState         = fault.Kind{Code: "InvalidDBInstanceState", Status: 400}
	ErrGlobalClusterNotFound = fault.Kind{Code: "GlobalClusterNotFoundFault", Status: 404}
	ErrParameterValue        = fault.Kind{Code: "InvalidParameterValue", Status: 400}
	ErrParameterCombination  = fault.Kind{Code: "InvalidParameterCombination", Status: 400}
	ErrMissingParameter      = fault.Kind{Code: "MissingParameter", Status: 400}
	ErrKeyNotAccessible      = fault.Kind{Code: "KMSKeyNotAccessibleFault", Status: 400}
)

// The states that RDS names and that occur here.
const (
	creating            = "creating"
	available           = "available"
	deleting            = "deleting"
	failed              = "failed"
	storageFull         = "storage-full"
	badNetwork          = "incompatible-network"
	incompatibleAccount = "incompatible-credentials"
)

// Config configures a Service. Every field is needed.
type Config struct {
	DB   *sqldb.DB
	Keys *envelope.Keyring
	// Dir holds a folder for each database. Users other than keyturn's must be
	// able to pass through it when keyturn runs as root (mode 0711 will do).
	Dir string
	Log *slog.Logger
	Now func() time.Time
	// Masters keeps the secrets of managed master users.
	Masters MasterSecrets
}

// Service answers the API and runs the database servers. It is safe for
// concurrent use.
type Service struct {
	config   Config
	poke     chan struct{}
	choosing sync.Mutex // held from choosing a port and a folder until their row is written

	active struct {
		sync.Mutex
		tenders map[string]*tender // :: ARN of a database's owner → who looks after it
	}
}

// New returns a Service. Nothing is started until Run.
func New(c Config) *Service {
	s := &Service{config: c, poke: make(chan struct{}, 1)}
	s.active.tenders = map[string]*tender{}
	return s
}

// Ops returns the operations of the Query service rds.
func (s *Service) Ops() []wire.Op {
	return []wire.Op{
		wire.On("CreateDBCluster", targetCreateCluster, s.createCluster),
		wire.On("DescribeDBClusters", targetDescribeClusters, s.describeClusters),
		wire.On("ModifyDBCluster", targetModifyCluster, s.modifyCluster),
		wire.On("DeleteDBCluster", targetDeleteCluster, s.deleteCluster),
		wire.On("CreateDBInstance", targetCreateInstance, s.createInstance),
		wire.On("DescribeDBInstances", targetDescribeInstances, s.describeInstances),
		wire.On("ModifyDBInstance", targetModifyInstance, s.modifyInstance),
		wire.On("DeleteDBInstance", targetDeleteInstance, s.deleteInstance),
		wire.On("DescribeGlobalClusters", targetDescribeGlobalClusters, s.describeGlobalClusters),
		wire.On("ListTagsForResource", targetListTags, s.listTags),
		wire.On("AddTagsToResource", targetAddTags, s.addTags),
		wire.On("RemoveTagsFromResource", targetRemoveTags, s.removeTags),
	}
}
