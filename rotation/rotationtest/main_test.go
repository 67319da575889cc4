package rotationtest

import (
	"os"
	"testing"

	"github.com/keyturn/keyturn/internal/dbtest"
)

func TestMain(m *testing.M) { os.Exit(dbtest.Main(m)) }
