use super::*;

const BLOG: &[u8] = include_bytes!("../../../tests/fixtures/blog.vmx");

fn plan_of(text: &[u8], environment: &Environment, wiring: &Wiring) -> Result<Plan, LineError> {
    let folder = Path::new("/vm");
    plan(&VmxFile::parse(text), folder, environment, wiring)
}

fn simple(text: &str) -> Result<Plan, LineError> {
    plan_of(text.as_bytes(), &Environment::default(), &Wiring::default())
}

/// The values of all options of a name.
fn options(plan: &Plan, name: &str) -> Vec<String> {
    let arguments: Vec<String> = plan
        .arguments
        .iter()
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    arguments
        .windows(2)
        .filter(|pair| pair[0] == name)
        .map(|pair| pair[1].clone())
        .collect()
}

/// An option that starts so.
fn option(plan: &Plan, name: &str, start: &str) -> String {
    options(plan, name)
        .into_iter()
        .find(|value| value.starts_with(start))
        .unwrap_or_else(|| panic!("no {name} {start}… in {:?}", plan.arguments))
}

#[test]
fn the_blogs_machine_is_planned_line_by_line() {
    let plan = plan_of(BLOG, &Environment::default(), &Wiring::default()).unwrap();
    assert_eq!(plan.warnings, Vec::<String>::new());
    assert_eq!(
        options(&plan, "-drive"),
        [
            "if=none,id=ide0-0,media=cdrom,readonly=on,format=raw,file=/vm/bootstrap.iso",
            "if=none,id=scsi0-0,format=vmdk,file=/vm/container.vmdk",
        ]
    );
    assert_eq!(
        options(&plan, "-device"),
        [
            "pvscsi,id=scsi0",
            "ide-cd,drive=ide0-0,bus=ide.0,unit=0,bootindex=0",
            "scsi-hd,drive=scsi0-0,bus=scsi0.0,scsi-id=0,vendor=VMware,product=Virtual disk,wwn=0x5000c2951ca38000,bootindex=16",
            "pci-bridge,id=pciBridge5,chassis_nr=6,addr=0x16",
            "vmxnet3,mac=00:50:56:2c:f7:f4,netdev=ethernet0,romfile=,bus=pciBridge5,addr=0x0",
            "isa-serial,chardev=serial0,index=0",
            "isa-serial,chardev=serial1,index=1",
        ]
    );
    assert_eq!(
        options(&plan, "-chardev"),
        [
            "socket,host=127.0.0.1,port=8080,server=off,reconnect=1,id=serial0",
            "file,path=/vm/console.log,append=off,id=serial1",
        ]
    );
    assert_eq!(options(&plan, "-netdev"), ["user,id=ethernet0"]);
    assert_eq!(options(&plan, "-m"), ["512M"]);
    assert_eq!(options(&plan, "-smp"), ["1,sockets=1,cores=1,threads=1"]);
    assert_eq!(
        option(&plan, "-smbios", "type=1"),
        "type=1,manufacturer=VMware,, Inc.,product=VMware Virtual Platform,version=None,serial=VMware-56 4d 2c f7 f4 83 bf 6e-7f 32 da a5 3f 51 ca 38,uuid=564d2cf7-f483-bf6e-7f32-daa53f51ca38"
    );
    assert_eq!(plan.boot_image, Some(PathBuf::from("/vm/bootstrap.iso")));
    let media: Vec<(&str, bool)> = plan
        .media
        .iter()
        .map(|medium| (medium.key.as_str(), medium.written))
        .collect();
    assert_eq!(
        media,
        [("ide0:0.fileName", false), ("scsi0:0.fileName", true)]
    );
}

#[test]
fn an_empty_file_is_a_machine_without_devices() {
    let plan = simple("").unwrap();
    assert!(options(&plan, "-device").is_empty());
    assert_eq!(options(&plan, "-m"), ["256M"]);
    assert!(plan.arguments.contains(&"-nodefaults".into()));
    assert!(!plan.arguments.contains(&"-S".into()));
}

#[test]
fn the_gdb_stub_holds_the_machine_until_we_are_there() {
    let wiring = Wiring {
        gdb: Some("/run/a,b/gdb".into()),
        monitor: Some("/run/a,b/monitor".into()),
        console: None,
        extra: vec!["-trace".into(), "x".into()],
    };
    let plan = plan_of(b"", &Environment::default(), &wiring).unwrap();
    assert_eq!(
        options(&plan, "-chardev"),
        [
            "socket,id=monitor,path=/run/a,,b/monitor",
            "socket,id=gdb,path=/run/a,,b/gdb"
        ]
    );
    assert_eq!(options(&plan, "-mon"), ["chardev=monitor,mode=control"]);
    assert_eq!(options(&plan, "-gdb"), ["chardev:gdb"]);
    assert!(plan.arguments.contains(&"-S".into()));
    assert_eq!(plan.arguments.last(), Some(&"x".into()));
}

#[test]
fn kvm_is_tried_before_tcg_where_it_may_be_there() {
    let environment = Environment {
        kvm: true,
        firmware: None,
    };
    let plan = plan_of(b"", &environment, &Wiring::default()).unwrap();
    assert_eq!(options(&plan, "-accel"), ["kvm", "tcg"]);
    let plan = simple("").unwrap();
    assert_eq!(options(&plan, "-accel"), ["tcg"]);
}

#[test]
fn the_console_may_go_elsewhere_whatever_the_file_says() {
    for text in [
        "",
        "serial1.fileType = \"file\"\nserial1.fileName = \"x\"\n",
        "serial1.present = \"FALSE\"\n",
    ] {
        let wiring = Wiring {
            console: Some(Console::Socket("/run/console".into())),
            ..Wiring::default()
        };
        let plan = plan_of(text.as_bytes(), &Environment::default(), &wiring).unwrap();
        assert_eq!(
            options(&plan, "-chardev"),
            ["socket,path=/run/console,id=serial1"]
        );
        assert_eq!(
            options(&plan, "-device"),
            ["isa-serial,chardev=serial1,index=1"]
        );
    }
}

#[test]
fn every_disk_controller_has_its_model_and_place() {
    let plan = simple(
        "scsi0.virtualDev = \"lsisas1068\"\nscsi0:3.fileName = \"a.vmdk\"\n\
         scsi1.virtualDev = \"lsilogic\"\nscsi1:0.fileName = \"/b.qcow2\"\nscsi1:0.mode = \"independent-nonpersistent\"\n\
         sata0:1.deviceType = \"cdrom-image\"\nsata0:1.fileName = \"c,d.iso\"\n\
         ide1:0.fileName = \"e.raw\"\nide1:0.deviceType = \"ata-hardDisk\"\n",
    )
    .unwrap();
    assert_eq!(
        options(&plan, "-device"),
        [
            "ich9-ahci,id=sata0",
            "mptsas1068,id=scsi0",
            "mptsas1068,id=scsi1",
            "ide-hd,drive=ide1-0,bus=ide.1,unit=0,bootindex=16",
            "ide-cd,drive=sata0-1,bus=sata0.1,bootindex=0",
            "scsi-hd,drive=scsi0-3,bus=scsi0.0,scsi-id=3,vendor=VMware,product=Virtual disk,wwn=0x5000c29000000003,bootindex=17",
            "scsi-hd,drive=scsi1-0,bus=scsi1.0,scsi-id=0,vendor=VMware,product=Virtual disk,wwn=0x5000c29000000010,bootindex=18",
        ]
    );
    assert_eq!(
        options(&plan, "-drive"),
        [
            "if=none,id=ide1-0,format=raw,file=/vm/e.raw",
            "if=none,id=sata0-1,media=cdrom,readonly=on,format=raw,file=/vm/c,,d.iso",
            "if=none,id=scsi0-3,format=vmdk,file=/vm/a.vmdk",
            "if=none,id=scsi1-0,format=qcow2,file=/b.qcow2,snapshot=on",
        ]
    );
    assert_eq!(plan.warnings.len(), 1, "{:?}", plan.warnings);
    assert!(plan.warnings[0].starts_with("scsi1.virtualDev"));
    assert!(!plan.media[3].written);
}

#[test]
fn what_is_not_present_is_left_out() {
    let plan = simple(
        "scsi0.present = \"FALSE\"\nscsi0.virtualDev = \"buslogic\"\nscsi0:0.fileName = \"a.vmdk\"\n\
         ide0:0.present = \"false\"\nide0:0.fileName = \"x\"\nethernet0.present = \"FALSE\"\nserial0.present = \"FALSE\"\n",
    )
    .unwrap();
    assert!(options(&plan, "-device").is_empty());
    assert!(plan.media.is_empty());
}

#[test]
fn a_drive_that_is_not_connected_is_empty() {
    let plan = simple(
        "ide1:0.deviceType = \"cdrom-image\"\nide1:0.fileName = \"x.iso\"\nide1:0.startConnected = \"FALSE\"\n\
         ide0:0.deviceType = \"cdrom-raw\"\nide0:0.fileName = \"auto detect\"\n",
    )
    .unwrap();
    assert_eq!(
        options(&plan, "-drive"),
        [
            "if=none,id=ide0-0,media=cdrom,readonly=on",
            "if=none,id=ide1-0,media=cdrom,readonly=on",
        ]
    );
    assert!(plan.boot_image.is_none() && plan.media.is_empty());
    assert!(plan.warnings[0].starts_with("ide0:0.deviceType"));
}

#[test]
fn the_boot_order_of_the_file_is_kept() {
    let plan = simple(
        "bios.bootOrder = \"HDD,ethernet0\"\nide0:0.deviceType = \"cdrom-image\"\nide0:0.fileName = \"x.iso\"\n\
         ide0:1.fileName = \"y.vmdk\"\nethernet0.virtualDev = \"e1000e\"\n",
    )
    .unwrap();
    let devices = options(&plan, "-device");
    assert_eq!(devices[0], "ide-cd,drive=ide0-0,bus=ide.0,unit=0");
    assert!(devices[1].ends_with("bootindex=0"), "{devices:?}");
    assert!(devices[2].contains("bootindex=16"), "{devices:?}");
    assert!(!devices[2].contains("romfile"), "{devices:?}");
}

#[test]
fn adapters_have_their_models_addresses_and_networks() {
    let plan = simple(
        "uuid.bios = \"56 4d 00 00 00 00 00 00-00 00 00 00 00 ab cd ef\"\n\
         ethernet0.present = \"TRUE\"\n\
         ethernet1.virtualDev = \"e1000e\"\nethernet1.connectionType = \"hostonly\"\n\
         ethernet2.virtualDev = \"vlance\"\nethernet2.connectionType = \"bridged\"\nethernet2.addressType = \"vpx\"\nethernet2.generatedAddress = \"00:50:56:AA:00:01\"\n\
         ethernet3.virtualDev = \"vmxnet3\"\nethernet3.startConnected = \"FALSE\"\n",
    )
    .unwrap();
    assert_eq!(
        options(&plan, "-device"),
        [
            "e1000,mac=00:0c:29:ab:cd:ef,netdev=ethernet0,romfile=",
            "e1000e,mac=00:0c:29:ab:cd:f9,netdev=ethernet1,romfile=",
            "pcnet,mac=00:50:56:aa:00:01,netdev=ethernet2,romfile=",
            "vmxnet3,mac=00:0c:29:ab:ce:0d,romfile=",
        ]
    );
    assert_eq!(
        options(&plan, "-netdev"),
        [
            "user,id=ethernet0",
            "user,restrict=on,id=ethernet1",
            "user,id=ethernet2"
        ]
    );
    assert_eq!(plan.warnings.len(), 1);
    assert!(plan.warnings[0].contains("bridged"));
}

#[test]
fn serial_ports_reach_every_kind_of_other_end() {
    let plan = simple(
        "serial0.fileType = \"network\"\nserial0.fileName = \"telnet://[::1]:99\"\nserial0.network.endPoint = \"client\"\n\
         serial1.fileType = \"network\"\nserial1.fileName = \"tcp4://:4000\"\n\
         serial2.fileType = \"pipe\"\nserial2.fileName = \"/tmp/x\"\nserial2.pipe.endPoint = \"client\"\n\
         serial3.fileType = \"file\"\nserial3.fileName = \"out\"\nanswer.msg.serial.file.open = \"Append\"\n",
    )
    .unwrap();
    assert_eq!(
        options(&plan, "-chardev"),
        [
            "socket,host=::1,port=99,telnet=on,server=off,reconnect=1,id=serial0",
            "socket,host=,port=4000,ipv4=on,server=on,wait=off,id=serial1",
            "socket,path=/tmp/x,server=off,reconnect=1,id=serial2",
            "file,path=/vm/out,append=on,id=serial3",
        ]
    );
}

#[test]
fn firmware_and_processors_are_taken_from_the_file() {
    let text =
        b"firmware = \"EFI\"\nnumvcpus = \"4\"\ncpuid.coresPerSocket = \"2\"\nmemsize = \"1024\"\n";
    let environment = Environment {
        kvm: false,
        firmware: Some(Firmware {
            code: "/ovmf/code".into(),
            variables: "/ovmf/vars".into(),
        }),
    };
    let plan = plan_of(text, &environment, &Wiring::default()).unwrap();
    assert_eq!(
        options(&plan, "-drive"),
        [
            "if=pflash,unit=0,format=raw,file=/ovmf/code,readonly=on",
            "if=pflash,unit=1,format=raw,file=/ovmf/vars,snapshot=on",
        ]
    );
    assert_eq!(options(&plan, "-smp"), ["4,sockets=2,cores=2,threads=1"]);
    let error = plan_of(text, &Environment::default(), &Wiring::default()).unwrap_err();
    assert!(error.to_string().contains("ovmf"), "{error}");
}

#[test]
fn an_impossible_line_is_an_error_that_names_it_and_what_may_stand_there() {
    let cases = [
        (
            "memsize = \"lots\"",
            "memsize = \"lots\": expected a number",
        ),
        ("memsize = \"510\"", "multiple of 4"),
        ("numvcpus = \"0\"", "numvcpus"),
        (
            "numvcpus = \"3\"\ncpuid.coresPerSocket = \"2\"",
            "coresPerSocket",
        ),
        ("uuid.bios = \"56 4d\"", "uuid.bios"),
        (
            "scsi0.present = \"maybe\"",
            "scsi0.present = \"maybe\": expected TRUE or FALSE",
        ),
        ("scsi0.present = \"TRUE\"", "scsi0.virtualDev is missing"),
        (
            "scsi0.virtualDev = \"buslogic\"",
            "scsi0.virtualDev = \"buslogic\"",
        ),
        (
            "scsi0.virtualDev = \"pvscsi\"\nscsi0:0.present = \"TRUE\"",
            "scsi0:0.fileName is missing",
        ),
        (
            "scsi0.virtualDev = \"pvscsi\"\nscsi0:7.fileName = \"x\"",
            "without 7",
        ),
        (
            "scsi0.virtualDev = \"lsilogic\"\nscsi0:8.fileName = \"x\"",
            "0 to 6",
        ),
        ("ide2:0.fileName = \"x\"", "ide2:0"),
        ("ide0:0.fileName = \"[ds] x.vmdk\"", "datastore"),
        (
            "ide0:0.fileName = \"x\"\nide0:0.mode = \"undoable\"",
            "ide0:0.mode",
        ),
        (
            "ide0:0.fileName = \"x\"\nide0:0.deviceType = \"tape\"",
            "ide0:0.deviceType",
        ),
        ("nvme0.present = \"TRUE\"", "nvme0.present"),
        ("ethernet0.virtualDev = \"ne2000\"", "ethernet0.virtualDev"),
        ("ethernet0.address = \"00:50\"", "ethernet0.address"),
        ("serial0.present = \"TRUE\"", "serial0.fileType is missing"),
        ("serial4.fileType = \"file\"", "serial4"),
        ("serial0.fileType = \"file\"", "serial0.fileName is missing"),
        (
            "serial0.fileType = \"network\"\nserial0.fileName = \"8080\"",
            "tcp://HOST:PORT",
        ),
        (
            "serial0.fileType = \"network\"\nserial0.fileName = \"ssl://h:1\"",
            "ssl://h:1",
        ),
        (
            "serial0.fileType = \"network\"\nserial0.fileName = \"tcp://h:99999\"",
            "tcp://HOST:PORT",
        ),
        (
            "serial0.fileType = \"network\"\nserial0.fileName = \"tcp://:80\"\nserial0.network.endPoint = \"client\"",
            "tcp://HOST:PORT",
        ),
        (
            "serial0.fileType = \"network\"\nserial0.vspc = \"telnet://h:1\"",
            "serial0.vspc",
        ),
        ("firmware = \"coreboot\"", "firmware"),
    ];
    for (text, part) in cases {
        let error = simple(text).unwrap_err().to_string();
        assert!(error.contains(part), "{text}: {error}");
    }
}

#[test]
fn what_is_not_missed_is_a_warning_that_names_the_line() {
    let plan = simple(
        "floppy0.present = \"TRUE\"\nusb.present = \"TRUE\"\nsound.present = \"FALSE\"\nvmci0.present = \"TRUE\"\nnot a line\n",
    )
    .unwrap();
    assert_eq!(plan.warnings.len(), 3, "{:?}", plan.warnings);
    for (warning, part) in plan
        .warnings
        .iter()
        .zip(["line 5", "floppy0.present", "usb.present"])
    {
        assert!(warning.contains(part), "{warning}");
    }
}
