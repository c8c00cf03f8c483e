import os,sys,time,random
from uuid import UUID
import pytest
from django.db import connection
from tests.queue.moves.test_fill import *
from tests.queue.moves.kit import success
from tasks_app.queue.settle import settle
from tasks_app.queue.submit import submit_many
from tasks_app.queue.submission import NewTask
pytestmark=[pytest.mark.django_db(transaction=True), pytest.mark.database]
N=int(os.environ.get("N","10000")); K=int(os.environ.get("K","1000"))
def test_bench():
    store().configure_session(durable=False)
    # plain
    for _ in range(N//1000): submit_many([NewTask("echo",{},50)]*1000)
    t=time.perf_counter(); c=time.process_time(); n=0
    while got:=take(8):
        settle("node",[success(x) for x in got]); n+=len(got)
    plain=time.perf_counter()-t; pc=time.process_time()-c
    print("plain",n,plain,pc)
    # keyed
    for b in range(N//1000):
        with writing():
            ids=submit_many([NewTask("echo",{},50)]*1000)
            pos=dict(Task.objects.filter(pk__in=ids).values_list("pk","position"))
            held.hold(ids)
            HeldTask.objects.bulk_create(HeldTask(task_id=i,task_type="echo",limit_key=f"k{(b*1000+j)%K}",priority=50,position=pos[i]) for j,i in enumerate(ids))
            note([Key("echo",f"k{k}") for k in range(min(K,1000))])
    t=time.perf_counter(); c=time.process_time(); n=0; fills=0; ft=0
    while True:
        f=time.perf_counter(); fill(lambda:{"echo":1},"fifo"); ft+=time.perf_counter()-f; fills+=1
        got=take(8)
        if not got: break
        with writing():
            settle("node",[success(x) for x in got]); give_up([UUID(x.id) for x in got])
        n+=len(got)
    keyed=time.perf_counter()-t; kc=time.process_time()-c
    print("keyed",n,keyed,kc,"fills",fills,ft, "ratio",plain/keyed)
