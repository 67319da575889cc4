package rdsapi_test

import (
	"net"
	"strconv"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/rds"

	"github.com/keyturn/keyturn/internal/dbserver"
)

// occupy listens on a port until the test, or the returned function, ends that.
func occupy(t *testing.T, port int32) (leave func()) {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(dbserver.Host, strconv.Itoa(int(port))))
	check(t, err)
	t.Cleanup(func() { _ = l.Close() })
	return func() { _ = l.Close() }
}

// TestPortTakenMeanwhile: between CreateDBCluster, which tells a free port, and its first
// instance another process takes that.
func TestPortTakenMeanwhile(t *testing.T) {
	w := newWorld(t)
	const engine = "mariadb"
	told := *w.createCluster("any", engine).Port
	asked := int32(freePort(t))
	w.createCluster("asked", engine, func(in *rds.CreateDBClusterInput) { in.Port = aws.Int32(asked) })
	occupy(t, told)
	leave := occupy(t, asked)

	w.createInstance("any-1", "any", engine)
	w.createInstance("asked-1", "asked", engine)
	got := *w.awaitStatus("any-1", "available").Endpoint.Port
	if got == told || got != *w.cluster("any").Port {
		t.Errorf("port %d of the instance, %d of the cluster; %d is taken", got, *w.cluster("any").Port, told)
	}
	occupied := w.awaitStatus("asked-1", "incompatible-network")
	if *occupied.Endpoint.Port != asked {
		t.Errorf("port %d instead of the one that was asked for", *occupied.Endpoint.Port)
	}
	leave()
	w.awaitStatus("asked-1", "available")
}
